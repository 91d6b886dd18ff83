#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace jreg {

/// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11): random bits as a pure function of key and counter,
/// so that any rank can compute any element of any stream.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_high, std::uint64_t counter_low) noexcept;

/// A stream of numbers named by (seed, name); the same on every machine and mesh.
class RandomStream {
public:
  RandomStream(std::uint64_t seed, std::string_view name) noexcept;

  /// 64 random bits belonging to `index`.
  std::uint64_t bits(std::uint64_t index) const noexcept;
  /// Uniform in [0, 1) with 53 bits.
  double uniform(std::uint64_t index) const noexcept;
  /// Standard normal number belonging to `index` (Box-Muller in double).
  double normal(std::uint64_t index) const noexcept;

private:
  std::uint64_t key_;
  std::uint64_t high_;
};

/// A pseudo-random permutation of [0, size): position `index` of the shuffled order, without storing it
/// (a Feistel network over Philox, cycle-walking down to size). Throws InternalError unless index < size.
std::uint64_t permuted(std::uint64_t index, std::uint64_t size, RandomStream const& stream);

/// FNV-1a, 64 bits: a stable name -> number map for keys.
std::uint64_t stable_hash(std::string_view text) noexcept;

}  // namespace jreg
