#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mesh/mesh.h"

namespace jreg::train {

/// Finds ranks that compute much slower than the others for a while.
class SlowRanks {
public:
  /// A rank is slow when it takes more than this many times the median of all ranks.
  static constexpr double ratio = 1.5;

  /// Comparisons in a row after which a slow rank is told of.
  explicit SlowRanks(int ranks, std::int64_t patience);

  /// The next comparison of what the ranks took. Returns the ranks to tell of now: those slow for `patience`
  /// comparisons in a row, and again each time that number has doubled.
  std::vector<int> compare(std::span<double const> seconds);

  /// The middle one; of an even number the smaller of the two, so that one slow rank of two is found.
  static double median(std::span<double const> values);

private:
  std::int64_t patience_;
  std::vector<std::int64_t> slow_;  // comparisons in a row, by rank
  std::vector<std::int64_t> next_;  // number of them at which to tell
};

/// How long each rank computes in an update, waiting for other ranks left out; the first rank warns of slow ones.
class Pace {
public:
  /// `hosts` by rank. `interval`: updates between two comparisons.
  Pace(mesh::Mesh const& mesh, std::vector<std::string> hosts, std::int64_t interval);

  /// This rank begins an update, and has computed its share of it.
  void begin();
  void computed();
  /// After update `step`: every `interval` updates the ranks compare (collective). Returns the ranks warned of.
  std::vector<int> updated(std::int64_t step);

private:
  using Clock = std::chrono::steady_clock;
  double waited() const;

  mesh::Mesh const& mesh_;
  std::vector<std::string> hosts_;
  std::int64_t interval_;
  SlowRanks slow_;
  Clock::time_point begin_;
  double waited_before_ = 0;
  double seconds_ = 0;  // since the last comparison
  std::int64_t updates_ = 0;
};

}  // namespace jreg::train
