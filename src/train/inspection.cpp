#include "train/inspection.h"

#include "store/agree.h"

namespace jreg::train {

Inspection::Inspection(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
                       data::TokenStream const& stream, data::Windows const& windows)
    : world_{world},
      mesh_{world, backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads, config.mesh.sequence_parallel},
      session_{config, backend, mesh_},
      feeder_{
          backend, config.train.sequence_length, session_.micro_batch(), {config.data.document_mask, config.data.eos}},
      evaluator_{session_, feeder_, stream, windows} {}

void Inspection::load(store::TensorSource& source) {
  store::agree(world_, [&] { session_.load(source); });
}

Look Inspection::look(std::int64_t sequences, Measures const& measures) {
  return evaluator_.look(sequences, measures).value();  // nothing interrupts it
}

}  // namespace jreg::train
