#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace jreg::store {

/// How weights are stored in files.
enum class StoredType : std::uint8_t { f32, f16, bf16 };

constexpr std::size_t size_of(StoredType type) noexcept {
  return type == StoredType::f32 ? 4 : 2;
}

/// IEEE half precision to single, exactly.
float half_to_float(std::uint16_t bits) noexcept;

/// Converts elements as files hold them, at any alignment, to `to` (f32 or bf16, rounded to nearest even) at `host`.
/// Where both types are the same the bits stay as they are.
void convert_elements(std::span<std::byte const> from, StoredType type, DType to, void* host);

}  // namespace jreg::store
