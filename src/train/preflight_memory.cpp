#include "train/preflight_memory.h"

#include <algorithm>

#include "model/activations.h"
#include "model/parameters.h"
#include "train/session.h"

namespace jreg::train::preflight {
namespace {

constexpr std::int64_t fp32 = 4;

/// Of a micro-batch: what model::Activations keeps of every block, and the largest of what passes through.
std::int64_t activation_bytes(config::Config const& config, mesh::Coordinates const& at, bool split_tokens) {
  config::ModelConfig const& model = config.model;
  std::int64_t const size = config.run.precision == "bf16" ? 2 : fp32;
  std::int64_t const tokens = micro_batch_of(config, at.data_size) * config.train.sequence_length;
  std::int64_t const between = split_tokens ? tokens / at.tensor_size : tokens;  // tokens between blocks
  std::int64_t const query = model.heads * model.head_size / at.tensor_size;
  std::int64_t const key_value = 2 * std::max<std::int64_t>(model.kv_heads / at.tensor_size, 1) * model.head_size;
  std::int64_t const ffn = model.ffn / at.tensor_size;
  std::int64_t const block = size * (tokens * (2 * query + key_value + 2 * ffn) + 2 * between * model.hidden) +
                             fp32 * (tokens * model.heads / at.tensor_size + 5 * between);
  std::int64_t const passing =
      size * (tokens * (2 * query + key_value + 2 * ffn + model.hidden) + 5 * between * model.hidden);
  std::int64_t const vocab_rows = (model.vocab + at.tensor_size - 1) / at.tensor_size;
  std::int64_t const logits = fp32 * vocab_rows * model::logits_chunk({.vocab_rows = vocab_rows}, tokens);
  return model.layers * block + passing + logits;
}

}  // namespace

std::int64_t memory_estimate(config::Config const& config, mesh::Coordinates const& at) {
  bool const split_tokens = config.mesh.sequence_parallel && at.tensor_size > 1;
  std::int64_t const parameters = model::declare_parameters(config.model, at, split_tokens).registry.flat_size();
  bool const bf16 = config.run.precision == "bf16";
  std::int64_t const shares = config.mesh.zero1 ? at.data_size : 1;
  std::int64_t const weights = (bf16 ? 2 : fp32) * parameters;
  std::int64_t const gradients = fp32 * parameters;
  std::int64_t const state = (2 + (bf16 ? 1 : 0)) * fp32 * parameters / shares;
  return weights + gradients + state + checkpoint_file_bytes(config, at) + activation_bytes(config, at, split_tokens);
}

std::int64_t checkpoint_file_bytes(config::Config const& config, mesh::Coordinates const& at) {
  std::int64_t const parameters = model::declare_parameters(config.model, at, false).registry.flat_size();
  return 3 * fp32 * parameters / at.data_size;  // what several data ranks hold is written by one of them
}

}  // namespace jreg::train::preflight
