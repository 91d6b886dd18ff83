#include "config/validate.h"

#include "base/error.h"
#include "config/sources.h"

namespace jreg::config {
namespace {

void divides(std::int64_t whole, char const* whole_name, std::int64_t part, char const* part_name) {
  if (whole % part != 0) {
    throw UserError("{} = {} is not a multiple of {} = {}", whole_name, whole, part_name, part);
  }
}

/// Sizes below this keep every product of two of them inside 64 bits.
void check_size(char const* name, std::int64_t value) {
  constexpr std::int64_t limit = std::int64_t{1} << 31;
  if (value >= limit) throw UserError("{} = {}: must be less than {}", name, value, limit);
}

void validate_data(DataConfig const& data, std::int64_t vocab) {
  if (!data.sources.empty()) {
    if (!data.train.empty()) {
      throw UserError("data.train = {} and data.sources = {}: give one of them", data.train, data.sources);
    }
    parse_sources(data.sources);
  }
  if (data.eos >= vocab) throw UserError("data.eos = {} is not below model.vocab = {}", data.eos, vocab);
}

}  // namespace

void resolve(Config& config) {
  if (config.run.precision == "auto") config.run.precision = config.run.backend == "cpu" ? "fp32" : "bf16";
  ModelConfig& model = config.model;
  if (model.kv_heads == 0) model.kv_heads = model.heads;
  if (model.head_size == 0) {
    divides(model.hidden, "model.hidden", model.heads, "model.heads");
    model.head_size = model.hidden / model.heads;
  }
}

void validate_model(ModelConfig const& model) {
  check_size("model.layers", model.layers);
  check_size("model.hidden", model.hidden);
  check_size("model.heads", model.heads);
  check_size("model.kv_heads", model.kv_heads);
  check_size("model.head_size", model.head_size);
  check_size("model.ffn", model.ffn);
  check_size("model.vocab", model.vocab);
  check_size("model.heads * model.head_size", model.heads * model.head_size);
  divides(model.heads, "model.heads", model.kv_heads, "model.kv_heads");
  if (model.head_size % 2 != 0) {
    throw UserError("model.head_size = {} is odd; rotary positions need pairs", model.head_size);
  }
  RopeScalingConfig const& rope = model.rope_scaling;
  if (rope.type == "llama3" && !(rope.high_freq_factor > rope.low_freq_factor)) {
    throw UserError("model.rope_scaling.high_freq_factor = {} must be greater than low_freq_factor = {}",
                    rope.high_freq_factor, rope.low_freq_factor);
  }
}

void validate(Config const& config, std::int64_t world) {
  validate_model(config.model);
  validate_data(config.data, config.model.vocab);
  ModelConfig const& model = config.model;
  std::int64_t const tensor = config.mesh.tensor;
  if (tensor > world) throw UserError("mesh.tensor = {} is more than the {} ranks of this run", tensor, world);
  if (world % tensor != 0) throw UserError("{} ranks are not a multiple of mesh.tensor = {}", world, tensor);
  divides(model.heads, "model.heads", tensor, "mesh.tensor");
  divides(model.ffn, "model.ffn", tensor, "mesh.tensor");
  if (model.kv_heads % tensor != 0 && tensor % model.kv_heads != 0) {
    throw UserError("model.kv_heads = {} and mesh.tensor = {}: one must be a multiple of the other", model.kv_heads,
                    tensor);
  }
  std::int64_t const data = world / tensor;
  TrainConfig const& train = config.train;
  check_size("train.steps", train.steps);
  check_size("train.sequence_length", train.sequence_length);
  check_size("train.global_batch", train.global_batch);
  check_size("mesh.bucket_mb", config.mesh.bucket_mb);
  check_size("eval.batches", config.record.eval_batches);
  check_size("probe.sequences", config.record.probe_sequences);
  if (train.global_batch % data != 0) {
    throw UserError("train.global_batch = {} is not a multiple of the {} data ranks ({} ranks / mesh.tensor = {})",
                    train.global_batch, data, world, tensor);
  }
  std::int64_t const per_rank = train.global_batch / data;
  if (train.micro_batch > 0 && per_rank % train.micro_batch != 0) {
    throw UserError(
        "train.global_batch = {} gives {} sequences to each of {} data ranks, not a multiple of "
        "train.micro_batch = {}",
        train.global_batch, per_rank, data, train.micro_batch);
  }
  if (config.mesh.sequence_parallel) {
    divides(train.sequence_length, "mesh.sequence_parallel: train.sequence_length", tensor, "mesh.tensor");
  }
  OptimConfig const& optim = config.optim;
  if (optim.min_learning_rate > optim.learning_rate) {
    throw UserError("optim.min_learning_rate = {} is more than optim.learning_rate = {}", optim.min_learning_rate,
                    optim.learning_rate);
  }
  if (optim.schedule == "wsd" && optim.decay_steps > train.steps) {
    throw UserError("optim.decay_steps = {} is more than train.steps = {}", optim.decay_steps, train.steps);
  }
  if (!optim.master_weights && config.run.precision != "bf16") {
    throw UserError(
        "optim.master_weights = false with run.precision = {}, whose weights are the only ones: set "
        "optim.master_weights = true or run.precision = bf16",
        config.run.precision);
  }
  if (model.layers < 2) {
    throw UserError("model.layers = {}: jump statistics need at least 2 layers", model.layers);
  }
}

}  // namespace jreg::config
