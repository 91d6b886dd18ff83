#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// Stochastic rounding to bf16, written from its description alone: Philox 4x32-10 by 32-bit halves, one element a call.

namespace jreg::oracle {

/// The 16 bits that element `element` of a tensor gets under `key`.
inline std::uint32_t rounding_bits(std::uint64_t key, std::uint64_t element) {
  std::uint64_t const block = element / 8;
  std::uint32_t counter[4] = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0};
  std::uint32_t round_key[2] = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
  auto const high = [](std::uint32_t a, std::uint32_t b) {
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(a) * b) >> 32);
  };
  for (int round = 0; round < 10; ++round) {
    std::uint32_t const next[4] = {high(0xCD9E8D57, counter[2]) ^ counter[1] ^ round_key[0], 0xCD9E8D57 * counter[2],
                                   high(0xD2511F53, counter[0]) ^ counter[3] ^ round_key[1], 0xD2511F53 * counter[0]};
    for (int i = 0; i < 4; ++i) counter[i] = next[i];
    round_key[0] += 0x9E3779B9;
    round_key[1] += 0xBB67AE85;
  }
  std::uint32_t const word = counter[element % 8 / 2];
  return element % 2 == 0 ? word % 65536 : word / 65536;
}

/// The largest bf16 not above `value` in size, with its sign.
inline double toward_zero(double value) {
  if (value == 0) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  double const unit = std::ldexp(1.0, std::max(exponent - 8, -133));  // 8 bits of it are kept
  return std::trunc(value / unit) * unit;
}
/// The next one away from zero, in the direction of `value`.
inline double away_from_zero(double value) {
  double const low = toward_zero(value);
  int exponent = 0;
  std::frexp(value, &exponent);
  return low + std::copysign(std::ldexp(1.0, std::max(exponent - 8, -133)), value);
}

/// `value`, a number that fp32 holds, rounded with these bits: away from zero where they and the dropped part, in
/// 65536ths of the distance of the neighbours, are more than one.
inline double rounded_by(std::uint32_t bits, double value) {
  double const low = toward_zero(value);
  double const high = away_from_zero(value);
  double const dropped = value == low ? 0 : 65536 * (value - low) / (high - low);
  return dropped + bits >= 65536 ? high : low;
}

}  // namespace jreg::oracle
