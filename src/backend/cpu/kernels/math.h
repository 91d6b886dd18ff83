#pragma once

// Scalar functions that the compiler turns into vector code inside loops marked `omp simd`.

#include <cstdint>

#include "backend/cpu/kernels/level.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

inline float widen(float value) {
  return value;
}
inline float widen(bfloat16 value) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(value.bits) << 16);
}

/// `value` rounded to the nearest number that T holds, halves to even; NaN stays NaN.
template <class T> inline float rounded(float value);
template <> inline float rounded<float>(float value) {
  return value;
}
template <> inline float rounded<bfloat16>(float value) {
  auto const bits = __builtin_bit_cast(std::uint32_t, value);
  float const nearest = __builtin_bit_cast(float, (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U);
  return value != value ? __builtin_nanf("") : nearest;
}

template <class T> inline float load(T const* values, std::int64_t i) {
  return widen(values[i]);
}
/// Stores what rounded<T> gave.
inline void store_exact(float* values, std::int64_t i, float value) {
  values[i] = value;
}
inline void store_exact(bfloat16* values, std::int64_t i, float value) {
  values[i].bits = static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, value) >> 16);
}
template <class T> inline void store(T* values, std::int64_t i, float value) {
  store_exact(values, i, rounded<T>(value));
}

/// e^x: relative error below 2e-7 where the result is a normal float below e^88.3; exactly 1 at 0; 0 below -87.7,
/// infinity above 88.4; NaN stays NaN. Polynomial: Cephes' expf.
inline float exponential(float x) {
  // At these ends the power of two becomes 0 and infinity, and the result with it.
  constexpr float largest = 88.7F;
  constexpr float smallest = -88.0F;
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
  std::uint32_t const exponent =
      __builtin_bit_cast(std::uint32_t, shifted) - __builtin_bit_cast(std::uint32_t, shifter) + 127U;
  return p * __builtin_bit_cast(float, exponent << 23);
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
