#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/philox.h"

namespace jreg {

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_high, std::uint64_t counter_low) noexcept {
  return philox<std::array<std::uint32_t, 4>>(key, counter_high, counter_low);
}

std::uint64_t stable_hash(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (char const letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3ULL;
  return hash;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view name) noexcept : key_{seed}, high_{stable_hash(name)} {}

std::uint64_t RandomStream::bits(std::uint64_t index) const noexcept {
  auto const four = philox(key_, high_, index);
  return (static_cast<std::uint64_t>(four[1]) << 32) | four[0];
}

double RandomStream::uniform(std::uint64_t index) const noexcept {
  return static_cast<double>(bits(index) >> 11) * 0x1p-53;
}

double RandomStream::normal(std::uint64_t index) const noexcept {
  // One Philox block gives a pair; index / 2 picks the block, index % 2 the member.
  auto const four = philox(key_, high_, index / 2);
  double const u = (static_cast<double>(four[0]) + 0.5) * 0x1p-32;
  double const v = (static_cast<double>(four[1]) + 0.5) * 0x1p-32;
  double const radius = std::sqrt(-2.0 * std::log(u));
  double const angle = 2.0 * std::numbers::pi * v;
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

std::uint64_t permuted(std::uint64_t index, std::uint64_t size, RandomStream const& stream) {
  expect(index < size, "permuted: index lies in [0, size)");
  auto const half = static_cast<int>((std::bit_width(size - 1) + 1) / 2);
  if (half == 0) return 0;
  std::uint64_t const mask = (std::uint64_t{1} << half) - 1;
  do {  // a balanced Feistel network permutes [0, 4^half); walk its cycle until inside [0, size)
    std::uint64_t left = index >> half;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 6; ++round) {
      std::uint64_t const next = left ^ (stream.bits((round << 48) | right) & mask);
      left = right;
      right = next;
    }
    index = (left << half) | right;
  } while (index >= size);
  return index;
}

}  // namespace jreg
