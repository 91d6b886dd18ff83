#include "store/elements.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/bfloat16.h"
#include "base/error.h"

namespace jreg::store {
namespace {

template <class T> T load(std::byte const* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float as_float(std::byte const* at, StoredType type) noexcept {
  switch (type) {
    case StoredType::f32:
      return load<float>(at);
    case StoredType::bf16:
      return to_float(bfloat16{load<std::uint16_t>(at)});
    case StoredType::f16:
      return half_to_float(load<std::uint16_t>(at));
  }
  return 0;
}

}  // namespace

float half_to_float(std::uint16_t bits) noexcept {
  std::uint32_t const sign = std::uint32_t{bits & 0x8000U} << 16U;
  std::uint32_t const exponent = bits >> 10U & 0x1FU;
  std::uint32_t const mantissa = bits & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | mantissa << 13U);  // Inf and NaN
  if (exponent == 0) {  // 0 and what is smaller than 2^-14
    float const magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112U) << 23U | mantissa << 13U);  // biases 127 and 15
}

void convert_elements(std::span<std::byte const> from, StoredType type, DType to, void* host) {
  static_assert(std::endian::native == std::endian::little, "files hold elements as memory does");
  expect(to == DType::f32 || to == DType::bf16, "weights are read as fp32 or bf16");
  if ((type == StoredType::f32 && to == DType::f32) || (type == StoredType::bf16 && to == DType::bf16)) {
    std::memcpy(host, from.data(), from.size());
    return;
  }
  std::size_t const step = size_of(type);
  std::size_t const count = from.size() / step;
  for (std::size_t i = 0; i < count; ++i) {
    float const value = as_float(from.data() + i * step, type);
    if (to == DType::f32) {
      static_cast<float*>(host)[i] = value;
    } else {
      static_cast<bfloat16*>(host)[i] = to_bfloat16(value);
    }
  }
}

}  // namespace jreg::store
