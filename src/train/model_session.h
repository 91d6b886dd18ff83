#pragma once

#include "backend/backend.h"
#include "config/config.h"
#include "mesh/mesh.h"
#include "model/llama.h"
#include "params/store.h"
#include "store/tensor_source.h"

namespace jreg::train {

/// A model on the backend, in the order of its life: the slices of the weights that this rank holds, and the memory of
/// a forward pass. Looking at a model needs no more: neither gradients nor moments.
class ModelSession {
public:
  ModelSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh)
      : ModelSession{config, backend, mesh, false} {}
  ModelSession(ModelSession const&) = delete;
  ModelSession& operator=(ModelSession const&) = delete;

  config::Config const& config() const noexcept { return config_; }
  backend::Backend& backend() noexcept { return backend_; }
  mesh::Mesh const& mesh() const noexcept { return mesh_; }
  params::Store& store() noexcept { return store_; }
  params::Store const& store() const noexcept { return store_; }
  model::Llama& model() noexcept { return model_; }
  model::Llama const& model() const noexcept { return model_; }

  /// Sequences of one micro-batch of a data rank.
  std::int64_t micro_batch() const noexcept { return micro_batch_; }

  /// Weights from files of whatever mesh or program. Throws DataError naming a tensor that is missing or of another
  /// shape.
  void load(store::TensorSource& source);

protected:
  /// `training`: also with gradients and the memory of a backward pass.
  ModelSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh, bool training);

private:
  config::Config config_;
  backend::Backend& backend_;
  mesh::Mesh const& mesh_;
  std::int64_t micro_batch_;
  model::DeclaredModel declared_;
  params::Store store_;
  model::Llama model_;
};

/// Sequences that a data rank works on at once.
std::int64_t micro_batch_of(config::Config const& config, int data_size);

}  // namespace jreg::train
