#include "train/session.h"

namespace jreg::train {
namespace {

DType storage_type(config::Config const& config) {
  return config.run.precision == "bf16" ? DType::bf16 : DType::f32;
}

}  // namespace

std::int64_t micro_batch_of(config::Config const& config, int data_size) {
  return config.train.micro_batch > 0 ? config.train.micro_batch : config.train.global_batch / data_size;
}

TrainingSession::TrainingSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh)
    : config_{config},
      backend_{backend},
      mesh_{mesh},
      micro_batch_{micro_batch_of(config, mesh.at().data_size)},
      declared_{model::declare_parameters(config.model, mesh.at(), mesh.sequence_parallel())},
      store_{backend, declared_.registry, storage_type(config), true},
      buckets_{params::make_buckets(store_.registry(), (config.mesh.bucket_mb << 20) / 4, mesh.at().data_size)},
      model_{config.model,
             declared_.index,
             {.sequence_length = config.train.sequence_length,
              .largest_micro_batch = micro_batch_,
              .with_backward = true,
              .measure = true,
              .normed_final_state = config.jreg.final_state == "normed",
              .recompute = model::recompute_named(config.train.recompute)},
             backend,
             mesh,
             store_},
      adamw_{config.optim, backend, mesh, store_, buckets_, config.mesh.zero1},
      reducer_{store_, mesh, buckets_, config.mesh.zero1},
      gradient_norm_{backend, store_, mesh, adamw_.owned(), config.mesh.zero1 && mesh.at().data_size > 1} {}

void TrainingSession::initialise() {
  params::Registry const& registry = store_.registry();
  std::vector<float> values;
  for (std::size_t i = 0; i < registry.all().size(); ++i) {
    params::Parameter const& p = registry[i];
    values.resize(static_cast<std::size_t>(p.size()));
    params::Range const range{p.offset, p.end()};
    params::initial_values(registry, {i, p.row_begin, p.row_end, range}, config_.run.seed, values.data());
    adamw_.write(optim::StateKind::weight, range, values.data());
  }
}

double model_flop(config::Config const& config) {
  config::ModelConfig const& m = config.model;
  auto const per_layer =
      static_cast<double>(m.hidden * m.head_size * (2 * m.heads + 2 * m.kv_heads) + 3 * m.hidden * m.ffn);
  double const matrices =
      static_cast<double>(m.layers) * per_layer + static_cast<double>(m.vocab) * static_cast<double>(m.hidden);
  auto const sequence = static_cast<double>(config.train.sequence_length);
  double const tokens = static_cast<double>(config.train.global_batch) * sequence;
  return 6 * tokens * matrices + 6 * tokens * static_cast<double>(m.layers * m.hidden) * sequence;
}

}  // namespace jreg::train
