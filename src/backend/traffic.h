#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/tensor.h"

namespace jreg::backend {

enum class CollectiveKind : std::size_t { all_reduce, reduce_scatter, all_gather, broadcast };
inline constexpr std::array collective_names{"all-reduce", "reduce-scatter", "all-gather", "broadcast"};

/// What one rank had to do with a kind of collective.
struct Traffic {
  std::int64_t calls = 0;
  /// Payload bytes that the rank handed in: all_reduce its values, reduce_scatter the whole, all_gather its own part,
  /// broadcast the root's values.
  std::int64_t handed_in = 0;
  /// Bytes that the rank sends where the ranks form a ring, which is the least that any algorithm sends:
  ///   reduce_scatter  all pieces but its own, once each
  ///   all_gather      all pieces but its successor's, once each
  ///   all_reduce      both, with n equal pieces: 2 (n - 1) / n of the values, rounded down
  ///   broadcast       the values, except on the rank before the root
  std::int64_t wire = 0;

  Traffic& operator+=(Traffic const& other) {
    calls += other.calls;
    handed_in += other.handed_in;
    wire += other.wire;
    return *this;
  }
  friend Traffic operator-(Traffic left, Traffic const& right) {
    return {left.calls - right.calls, left.handed_in - right.handed_in, left.wire - right.wire};
  }
  friend bool operator==(Traffic const&, Traffic const&) = default;
};

/// Traffic of each kind. In a group of one rank nothing travels and nothing is counted.
struct TrafficCounts {
  std::array<Traffic, collective_names.size()> kinds{};

  Traffic const& operator[](CollectiveKind kind) const { return kinds.at(static_cast<std::size_t>(kind)); }
  Traffic& operator[](CollectiveKind kind) { return kinds.at(static_cast<std::size_t>(kind)); }
  Traffic total() const {
    Traffic sum;
    for (Traffic const& kind : kinds) sum += kind;
    return sum;
  }
  friend bool operator==(TrafficCounts const&, TrafficCounts const&) = default;
};

/// The traffic of one call in a group of `ranks` > 1; sizes in bytes.
inline Traffic all_reduce_traffic(std::int64_t values, int ranks) {
  return {1, values, 2 * values * (ranks - 1) / ranks};
}
inline Traffic reduce_scatter_traffic(std::int64_t whole, std::int64_t own) {
  return {1, whole, whole - own};
}
inline Traffic all_gather_traffic(std::int64_t whole, std::int64_t own, std::int64_t successors) {
  return {1, own, whole - successors};
}
/// The same for flat `values` cut into pieces of `counts[r]` elements, as rank `rank` sees it.
inline Traffic reduce_scatter_traffic(Tensor const& values, std::span<std::int64_t const> counts, int rank) {
  auto const width = static_cast<std::int64_t>(size_of(values.dtype));
  return reduce_scatter_traffic(values.bytes(), width * counts[static_cast<std::size_t>(rank)]);
}
inline Traffic all_gather_traffic(Tensor const& values, std::span<std::int64_t const> counts, int rank) {
  auto const width = static_cast<std::int64_t>(size_of(values.dtype));
  auto const own = static_cast<std::size_t>(rank);
  return all_gather_traffic(values.bytes(), width * counts[own], width * counts[(own + 1) % counts.size()]);
}
inline Traffic broadcast_traffic(std::int64_t values, int rank, int root, int ranks) {
  return {1, rank == root ? values : 0, (rank + 1) % ranks == root ? 0 : values};
}

}  // namespace jreg::backend
