#pragma once

#include <bit>
#include <cstdint>

namespace jreg {

/// bfloat16 storage: the upper half of an IEEE float. Arithmetic is done in float.
struct bfloat16 {
  std::uint16_t bits = 0;
};

inline float to_float(bfloat16 value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
inline float to_float(float value) noexcept {
  return value;
}

/// Rounds to nearest even; NaN stays a quiet NaN.
inline bfloat16 to_bfloat16(float value) noexcept {
  auto const bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

}  // namespace jreg
