#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/token_stream.h"
#include "data/windows.h"
#include "jump/statistics.h"
#include "store/trajectory.h"
#include "train/batches.h"
#include "train/model_session.h"
#include "train/packed_sums.h"

namespace jreg::train {

/// What a look at a model measures beside its loss.
struct Measures {
  bool statistics = false;
  bool histograms = false;
  bool logit_lens = false;   // L + 1 classifiers instead of one
  bool skip_layers = false;  // costs as much as about L / 2 more forward passes
};

/// Means over the tokens that count in some windows; what was not asked for is empty.
struct Look {
  double loss = 0;          // cross entropy, nats per token
  std::int64_t tokens = 0;  // predictions that count
  jump::JumpStatistics jump;
  std::vector<std::int64_t> displacement_histogram;  // (L, bins) tokens
  std::vector<double> logit_lens_loss;               // (L + 1) where h_l, l = 0..L, takes the place of h_L
  std::vector<double> skip_layer_loss;               // (L) with block l = 1..L left out
};

/// Looks at sequences with the weights as they are. All calls are collective; results are the same on every rank and,
/// within rounding, on every mesh. A look that was interrupted has no result.
class Evaluator {
public:
  /// Asked before each piece of a global batch, on all ranks alike: whether to give the look up; the same answer on
  /// every rank.
  using Interrupt = std::function<bool()>;

  /// `file` must outlive this.
  Evaluator(
      ModelSession& session, BatchFeeder& feeder, data::TokenStream const& file, data::Windows const& windows,
      Interrupt interrupt = [] { return false; });

  /// Mean cross entropy, nats per token, of the first `sequences` windows (all where there are fewer).
  std::optional<double> loss(std::int64_t sequences);
  /// Loss and full statistics of the same fixed windows each time.
  std::optional<store::ProbeRow> probe(std::int64_t step, std::int64_t sequences);
  /// Whatever is asked for of these windows. Skipping layers and the logit lens need a session without training.
  std::optional<Look> look(std::int64_t sequences, Measures const& measures);

private:
  /// Runs this data rank's share of the windows; false where it was interrupted.
  bool run(std::int64_t sequences, Measures const& measures);
  /// Forward passes of windows [begin, end).
  void add(std::int64_t begin, std::int64_t end, Measures const& measures);
  backend::Tensor depth_loss(std::int64_t place) const { return depth_losses_.column_range(place, place + 1); }
  std::vector<std::int64_t> reduced_histograms();
  /// (L + 1) sums of the logit lens, then (L) of skipped layers.
  std::vector<double> reduced_depth_losses();

  ModelSession& session_;
  BatchFeeder& feeder_;
  data::TokenStream const& file_;
  Interrupt interrupt_;
  data::Windows windows_;
  PackedSums sums_;
  backend::Tensor histograms_;    // (L, bins) i64
  backend::Tensor depth_losses_;  // (1, 2 L + 1) f64
  backend::Arena arena_;
};

/// A look with statistics and histograms as a row of /probe.
store::ProbeRow probe_row(std::int64_t step, Look look);

/// Steps at which the probe batch is looked at: 0, 1, 2, 4 ... 512, then every `interval`, and the last one.
bool probe_is_due(std::int64_t step, std::int64_t interval, std::int64_t last_step);

}  // namespace jreg::train
