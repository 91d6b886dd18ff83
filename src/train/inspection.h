#pragma once

#include "data/token_stream.h"
#include "data/windows.h"
#include "mpi/communicator.h"
#include "train/batches.h"
#include "train/evaluation.h"
#include "train/model_session.h"

namespace jreg::train {

/// Looks at models of one architecture, one after another, on the same windows of tokens; without training. All calls
/// are collective.
class Inspection {
public:
  /// `config` is valid for the ranks of `world`. All arguments but the windows must outlive this.
  Inspection(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
             data::TokenStream const& stream, data::Windows const& windows);

  /// Weights of the next model. Errors are AgreedErrors.
  void load(store::TensorSource& source);
  /// The first `sequences` windows, all where there are fewer.
  Look look(std::int64_t sequences, Measures const& measures);

  mesh::Mesh const& mesh() const noexcept { return mesh_; }
  std::int64_t parameters() const { return session_.store().registry().global_size(); }
  std::int64_t micro_batch() const noexcept { return session_.micro_batch(); }

private:
  mpi::Communicator const& world_;
  mesh::Mesh mesh_;
  ModelSession session_;
  BatchFeeder feeder_;
  Evaluator evaluator_;
};

}  // namespace jreg::train
