#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "config/config.h"
#include "mesh/mesh.h"
#include "model/llama.h"
#include "optim/adamw.h"
#include "optim/gradient_norm.h"
#include "optim/gradient_reducer.h"
#include "params/partition.h"
#include "params/store.h"

namespace jreg::train {

/// Everything that lives on the backend for a training run, in the order of its life.
class TrainingSession {
public:
  TrainingSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh);
  TrainingSession(TrainingSession const&) = delete;
  TrainingSession& operator=(TrainingSession const&) = delete;

  config::Config const& config() const noexcept { return config_; }
  backend::Backend& backend() noexcept { return backend_; }
  mesh::Mesh const& mesh() const noexcept { return mesh_; }
  params::Store& store() noexcept { return store_; }
  params::Store const& store() const noexcept { return store_; }
  model::Llama& model() noexcept { return model_; }
  model::Llama const& model() const noexcept { return model_; }
  optim::AdamW& adamw() noexcept { return adamw_; }
  optim::AdamW const& adamw() const noexcept { return adamw_; }
  optim::GradientReducer& reducer() noexcept { return reducer_; }
  optim::GradientNorm& gradient_norm() noexcept { return gradient_norm_; }

  /// Sequences of one micro-batch of a data rank.
  std::int64_t micro_batch() const noexcept { return micro_batch_; }
  std::int64_t tokens_per_update() const noexcept { return config_.train.global_batch * config_.train.sequence_length; }

  /// Weights as a pure function of the seed; moments zero.
  void initialise();

private:
  config::Config config_;
  backend::Backend& backend_;
  mesh::Mesh const& mesh_;
  std::int64_t micro_batch_;
  model::DeclaredModel declared_;
  params::Store store_;
  std::vector<params::Bucket> buckets_;
  model::Llama model_;
  optim::AdamW adamw_;
  optim::GradientReducer reducer_;
  optim::GradientNorm gradient_norm_;
};

/// Floating point operations of one update as usually counted: 6 T (matrix parameters with head, without embedding)
/// + 6 T L H S, with T tokens in the update.
double model_flop(config::Config const& config);

/// Sequences that a data rank works on at once.
std::int64_t micro_batch_of(config::Config const& config, int data_size);

}  // namespace jreg::train
