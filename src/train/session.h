#pragma once

#include <vector>

#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "optim/gradient_reducer.h"
#include "params/partition.h"
#include "train/model_session.h"

namespace jreg::train {

/// A model that is trained: everything that lives on the backend for a training run, in the order of its life.
class TrainingSession : public ModelSession {
public:
  TrainingSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh);

  optim::AdamW& adamw() noexcept { return adamw_; }
  optim::AdamW const& adamw() const noexcept { return adamw_; }
  optim::GradientReducer& reducer() noexcept { return reducer_; }
  optim::GradientNorm& gradient_norm() noexcept { return gradient_norm_; }

  std::int64_t tokens_per_update() const noexcept {
    return config().train.global_batch * config().train.sequence_length;
  }

  /// Weights as a pure function of the seed; moments zero.
  void initialise();

private:
  std::vector<params::Bucket> buckets_;
  optim::AdamW adamw_;
  optim::GradientReducer reducer_;
  optim::GradientNorm gradient_norm_;
};

/// Floating point operations of one update as usually counted: 6 T (matrix parameters with head, without embedding)
/// + 6 T L H S, with T tokens in the update.
double model_flop(config::Config const& config);

}  // namespace jreg::train
