#pragma once

#include <cstddef>
#include <string_view>

namespace jreg::data {

/// Position of the first byte that does not belong to well-formed UTF-8 (overlong forms, surrogates and numbers above
/// U+10FFFF included), or std::string_view::npos.
std::size_t first_invalid_utf8(std::string_view text) noexcept;

/// The last position <= `at` that does not lie inside a character.
std::size_t utf8_boundary(std::string_view text, std::size_t at) noexcept;

}  // namespace jreg::data
