#include "train/session.h"

namespace jreg::train {

TrainingSession::TrainingSession(config::Config const& config, backend::Backend& backend, mesh::Mesh const& mesh)
    : ModelSession{config, backend, mesh, true},
      buckets_{params::make_buckets(store().registry(), (config.mesh.bucket_mb << 20) / 4, mesh.at().data_size)},
      adamw_{config.optim, config.run.seed, backend, mesh, store(), buckets_, config.mesh.zero1},
      reducer_{store(), mesh, buckets_, config.mesh.zero1},
      gradient_norm_{backend, store(), mesh, adamw_.owned(), config.mesh.zero1 && mesh.at().data_size > 1} {
  model().set_weight_hooks({.require = [this](std::size_t unit) { adamw_.gather().require(unit); },
                            .between = [this] { adamw_.gather().progress(); }});
}

void TrainingSession::initialise() {
  params::Registry const& registry = store().registry();
  std::vector<float> values;
  for (std::size_t i = 0; i < registry.all().size(); ++i) {
    params::Parameter const& p = registry[i];
    values.resize(static_cast<std::size_t>(p.size()));
    params::Range const range{p.offset, p.end()};
    params::initial_values(registry, {i, p.row_begin, p.row_end, range}, config().run.seed, values.data());
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
