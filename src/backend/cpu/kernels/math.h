#pragma once

// Scalar functions that the compiler turns into vector code inside loops marked `omp simd`.

#include <cstdint>

#include "backend/cpu/kernels/level.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

inline float load(float const* values, std::int64_t i) {
  return values[i];
}
inline float load(bfloat16 const* values, std::int64_t i) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(values[i].bits) << 16);
}

inline void store(float* values, std::int64_t i, float value) {
  values[i] = value;
}
inline void store(bfloat16* values, std::int64_t i, float value) {
  auto const bits = __builtin_bit_cast(std::uint32_t, value);
  std::uint32_t const rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  std::uint32_t const quiet = (bits >> 16) | 0x40U;
  values[i].bits = static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

/// `value` as it reads back after being stored as T.
template <class T> inline float rounded(float value) {
  T stored;
  store(&stored, 0, value);
  return load(&stored, 0);
}

/// e^x: relative error below 2e-7 where the result is a normal float below e^88; exactly 1 at 0; 0 below -87.3,
/// infinity above 88.3; NaN stays NaN. Polynomial: Cephes' expf.
inline float exponential(float x) {
  constexpr float largest = 88.3F;
  constexpr float smallest = -87.3F;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  constexpr float shifter = 12582912.0F;
  float clamped = x > largest ? largest : x;
  clamped = clamped < smallest ? smallest : clamped;
  float const shifted = clamped * 1.44269504088896341F + shifter;
  float const power = shifted - shifter;
  float const r = (clamped - power * 0.693359375F) + power * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  std::int32_t const exponent =
      __builtin_bit_cast(std::int32_t, shifted) - __builtin_bit_cast(std::int32_t, shifter) + 127;
  float result = p * __builtin_bit_cast(float, static_cast<std::uint32_t>(exponent) << 23);
  result = x < smallest ? 0.0F : result;
  return x > largest ? __builtin_inff() : result;
}

/// Integers in the order of the floats, NaN (with a positive sign) as the largest: integer maxima vectorise without
/// giving up NaN.
inline std::int32_t order_key(float value) {
  auto const bits = __builtin_bit_cast(std::int32_t, value);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
inline float from_order_key(std::int32_t key) {
  return __builtin_bit_cast(float, key ^ ((key >> 31) & 0x7fffffff));
}

/// asin(sqrt(z)) for z in [0, 1]; relative error below 3e-7. Polynomial: Cephes' asinf.
inline float arcsine_of_root(float z) {
  bool const small = z <= 0.25F;
  float const square = small ? z : 0.5F * (1.0F - __builtin_sqrtf(z));
  float const root = __builtin_sqrtf(square);
  float p = 4.2163199048e-2F;
  p = p * square + 2.4181311049e-2F;
  p = p * square + 4.5470025998e-2F;
  p = p * square + 7.4953002686e-2F;
  p = p * square + 1.6666752422e-1F;
  float const angle = p * square * root + root;
  return small ? angle : 1.57079632679489662F - 2.0F * angle;
}

/// First element of a row; T is the stored type.
template <class T> inline T* row_of(Tensor const& tensor, std::int64_t row) {
  return static_cast<T*>(tensor.data) + row * tensor.stride;
}
/// The elements of a (1, n) tensor.
inline float* values_of(Tensor const& tensor) {
  return static_cast<float*>(tensor.data);
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
