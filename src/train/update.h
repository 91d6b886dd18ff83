#pragma once

#include <functional>
#include <vector>

#include "jump/penalty.h"
#include "jump/statistics.h"
#include "optim/schedule.h"
#include "train/packed_sums.h"
#include "train/session.h"

namespace jreg::train {

/// Gives micro-batch `micro` of update `step`.
using BatchSource = std::function<model::MicroBatch(std::int64_t step, std::int64_t micro)>;

/// What an update measured; the same on every rank.
struct UpdateResult {
  double loss = 0;  // mean cross entropy, nats per token
  double jreg = 0;  // R
  double jreg_lambda = 0;
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  jump::JumpStatistics jump;
  bool applied = true;     // false: loss or gradient were not finite, the weights are as they were
  int bad_data_rank = -1;  // first data rank with a loss that is not finite
  bool flagged = false;    // some rank raised its flag before the update
  bool busy = false;       // some rank was busy in the background before the update
};

/// One update of a run: the step that everything else is there for.
class Updater {
public:
  /// `jreg` is the penalty to train with; `measure` = false leaves the statistics out altogether (then there is no
  /// penalty either).
  /// `computed` is called in each update when this rank has done its own forward and backward passes and begins to wait
  /// for the other ranks.
  Updater(
      TrainingSession& session, config::JregConfig const& jreg, bool measure, BatchSource source,
      std::function<void()> computed = [] {});

  /// Update `step` (0, 1, ...). `flag`, `busy`: see PackedSums. Collective over all ranks.
  UpdateResult update(std::int64_t step, bool flag, bool busy = false);

  /// Updates take so many micro-batches from here on, instead of the whole global batch: for measurements.
  void set_micro_batches(std::int64_t micro_batches) noexcept { micro_batches_ = micro_batches; }
  std::int64_t micro_batches() const noexcept { return micro_batches_; }

  jump::Penalty& penalty() noexcept { return penalty_; }
  jump::Penalty const& penalty() const noexcept { return penalty_; }

private:
  UpdateResult measured(std::int64_t step, double grad_norm) const;

  TrainingSession& session_;
  BatchSource source_;
  std::function<void()> computed_;
  bool measure_;
  std::int64_t micro_batches_;
  jump::Penalty penalty_;
  optim::Schedule schedule_;
  PackedSums sums_;
};

}  // namespace jreg::train
