#pragma once

#include "data/sampler.h"
#include "data/token_file.h"
#include "store/trajectory.h"
#include "train/batches.h"
#include "train/session.h"
#include "train/update.h"

namespace jreg::train {

/// Looks at held-out sequences with the weights as they are. All calls are collective; results are the same on every
/// rank and, within rounding, on every mesh.
class Evaluator {
public:
  /// `file` must outlive this. Throws UserError when it has no whole sequence.
  Evaluator(TrainingSession& session, BatchFeeder& feeder, data::TokenFile const& file);

  /// Mean cross entropy, nats per token, of the first `sequences` windows of the file (all where it has fewer).
  double loss(std::int64_t sequences);
  /// Loss and full statistics of the same fixed windows each time.
  store::ProbeRow probe(std::int64_t step, std::int64_t sequences);

private:
  /// Runs this data rank's share of the windows and reduces; returns the mean loss.
  double run(std::int64_t sequences, bool statistics, bool histograms);

  TrainingSession& session_;
  BatchFeeder& feeder_;
  data::TokenFile const& file_;
  data::Sampler windows_;
  PackedSums sums_;
  backend::Tensor histograms_;  // (L, bins) i64
  backend::Arena arena_;
};

/// Steps at which the probe batch is looked at: 0, 1, 2, 4 ... 512, then every `interval`, and the last one.
bool probe_is_due(std::int64_t step, std::int64_t interval, std::int64_t last_step);

}  // namespace jreg::train
