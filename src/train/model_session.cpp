#include "train/model_session.h"

#include "train/weights.h"

namespace jreg::train {
namespace {

DType storage_type(config::Config const& config) {
  return config.run.precision == "bf16" ? DType::bf16 : DType::f32;
}

}  // namespace

std::int64_t micro_batch_of(config::Config const& config, int data_size) {
  return config.train.micro_batch > 0 ? config.train.micro_batch : config.train.global_batch / data_size;
}

ModelSession::ModelSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh,
                           bool training)
    : config_{config},
      backend_{backend},
      mesh_{mesh},
      micro_batch_{micro_batch_of(config, mesh.at().data_size)},
      declared_{model::declare_parameters(config.model, mesh.at(), mesh.sequence_parallel())},
      store_{backend, declared_.registry, storage_type(config), training},
      model_{config.model,
             declared_.index,
             {.sequence_length = config.train.sequence_length,
              .largest_micro_batch = micro_batch_,
              .with_backward = training,
              .measure = true,
              .normed_final_state = config.jreg.final_state == "normed",
              .recompute = model::recompute_named(config.train.recompute)},
             backend,
             mesh,
             store_} {}

void ModelSession::load(store::TensorSource& source) {
  load_weights(source, store_.registry(), [this](params::Range range, float const* values) {
    params::write_weights(backend_, store_, range, values);
  });
}

}  // namespace jreg::train
