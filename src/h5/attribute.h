#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "h5/handle.h"

namespace jreg::h5 {

/// Scalar attributes of a file, group or dataset; texts are UTF-8 of variable length, which readers get as str.
void set_attribute(hid_t at, std::string const& name, std::string_view text);
void set_attribute(hid_t at, std::string const& name, std::int64_t value);
void set_attribute(hid_t at, std::string const& name, double value);
/// One-dimensional.
void set_attribute(hid_t at, std::string const& name, std::vector<std::int64_t> const& values);

bool has_attribute(hid_t at, std::string const& name);
/// Throw DataError when the attribute is missing or of another kind.
std::string text_attribute(hid_t at, std::string const& name);
std::int64_t integer_attribute(hid_t at, std::string const& name);

}  // namespace jreg::h5
