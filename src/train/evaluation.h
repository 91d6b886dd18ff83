#pragma once

#include <functional>
#include <optional>

#include "data/sampler.h"
#include "data/token_stream.h"
#include "store/trajectory.h"
#include "train/batches.h"
#include "train/session.h"
#include "train/update.h"

namespace jreg::train {

/// Looks at held-out sequences with the weights as they are. All calls are collective; results are the same on every
/// rank and, within rounding, on every mesh. A look that was interrupted has no result.
class Evaluator {
public:
  /// Asked before each global batch, on all ranks alike: whether to give the look up; the same answer on every rank.
  using Interrupt = std::function<bool()>;

  /// `file` must outlive this. Throws UserError when it has no whole sequence.
  Evaluator(
      TrainingSession& session, BatchFeeder& feeder, data::TokenStream const& file,
      Interrupt interrupt = [] { return false; });

  /// Mean cross entropy, nats per token, of the first `sequences` windows of the file (all where it has fewer).
  std::optional<double> loss(std::int64_t sequences);
  /// Loss and full statistics of the same fixed windows each time.
  std::optional<store::ProbeRow> probe(std::int64_t step, std::int64_t sequences);

private:
  /// Runs this data rank's share of the windows and reduces; returns the mean loss.
  std::optional<double> run(std::int64_t sequences, bool statistics, bool histograms);
  /// Forward passes of windows [begin, end).
  void add(std::int64_t begin, std::int64_t end, bool statistics, bool histograms);

  TrainingSession& session_;
  BatchFeeder& feeder_;
  data::TokenStream const& file_;
  Interrupt interrupt_;
  data::Sampler windows_;
  PackedSums sums_;
  backend::Tensor histograms_;  // (L, bins) i64
  backend::Arena arena_;
};

/// Steps at which the probe batch is looked at: 0, 1, 2, 4 ... 512, then every `interval`, and the last one.
bool probe_is_due(std::int64_t step, std::int64_t interval, std::int64_t last_step);

}  // namespace jreg::train
