#pragma once

#include <cstdint>

#include "config/config.h"

namespace jreg::optim {

/// The learning rate of each update of a run. With W warm-up updates of N:
///   warm-up   update s < W has peak (s + 1) / W, so that update W - 1 is the first one at the peak
///   cosine    from the peak down to the minimum, which the last update (N - 1) has
///   linear    the same on a straight line
///   wsd       the peak until the last D updates, whose rates fall on a straight line to the minimum at the last one;
///             D = decay_steps, or max(1, N / 10) for 0; the decay never cuts into the warm-up
///   constant  the peak
/// Without warm-up the first update has the peak. A run that ends before its warm-up does never reaches it.
class Schedule {
public:
  /// `total_steps`: train.steps, whatever part of them this process runs.
  Schedule(config::OptimConfig const& config, std::int64_t total_steps);

  /// The rate of update `step` = 0, 1, ...; beyond the last one that of the last.
  double at(std::int64_t step) const;

private:
  enum class Shape { cosine, linear, constant };

  Shape shape_;
  double peak_;
  double minimum_;
  std::int64_t warmup_steps_;
  std::int64_t decay_begin_;  // the last update at the peak
  std::int64_t last_;         // the update at the minimum
};

}  // namespace jreg::optim
