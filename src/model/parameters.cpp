#include "model/parameters.h"

#include <fmt/format.h>

#include <cmath>

namespace jreg::model {

using params::Split;

DeclaredModel declare_parameters(config::ModelConfig const& model, mesh::Coordinates at, bool sequence_parallel) {
  DeclaredModel declared{params::Registry{at, model.kv_heads, sequence_parallel}, {}};
  params::Registry& registry = declared.registry;
  LlamaParameters& index = declared.index;

  auto const matrix = [&](std::string name, std::int64_t rows, std::int64_t columns, Split split, double std) {
    return params::Declaration{
        .name = std::move(name), .rows = rows, .columns = columns, .split = split, .decay = true, .init_std = std};
  };
  auto const norm = [&](std::string name) {
    return params::Declaration{.name = std::move(name), .rows = model.hidden};
  };
  auto const joined = [](params::Declaration declaration) {
    declaration.joins_previous = true;
    return declaration;
  };
  auto const vocabulary = [&](std::string name) {
    params::Declaration table = matrix(std::move(name), model.vocab, model.hidden, Split::rows, model.init_std);
    table.padded_rows = true;
    return table;
  };

  double const std = model.init_std;
  // Residual outputs start smaller, so that the stream's variance does not grow with depth.
  double const residual_std = std / std::sqrt(2.0 * static_cast<double>(model.layers));
  std::int64_t const query_rows = model.heads * model.head_size;
  std::int64_t const kv_rows = model.kv_heads * model.head_size;

  registry.begin_unit();
  index.embedding = registry.add(vocabulary("model.embed_tokens.weight"));
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    std::string const prefix = fmt::format("model.layers.{}.", layer);
    std::string const attention = prefix + "self_attn.";
    std::string const mlp = prefix + "mlp.";
    BlockParameters block;
    registry.begin_unit();
    block.attention_norm = registry.add(norm(prefix + "input_layernorm.weight"));
    block.query = registry.add(matrix(attention + "q_proj.weight", query_rows, model.hidden, Split::rows, std));
    block.key = registry.add(joined(matrix(attention + "k_proj.weight", kv_rows, model.hidden, Split::kv_rows, std)));
    block.value = registry.add(joined(matrix(attention + "v_proj.weight", kv_rows, model.hidden, Split::kv_rows, std)));
    block.output =
        registry.add(matrix(attention + "o_proj.weight", model.hidden, query_rows, Split::columns, residual_std));
    block.mlp_norm = registry.add(norm(prefix + "post_attention_layernorm.weight"));
    block.gate = registry.add(matrix(mlp + "gate_proj.weight", model.ffn, model.hidden, Split::rows, std));
    block.up = registry.add(joined(matrix(mlp + "up_proj.weight", model.ffn, model.hidden, Split::rows, std)));
    block.down = registry.add(matrix(mlp + "down_proj.weight", model.hidden, model.ffn, Split::columns, residual_std));
    index.blocks.push_back(block);
  }
  registry.begin_unit();
  index.final_norm = registry.add(norm("model.norm.weight"));
  index.head = model.tie_embeddings ? index.embedding : registry.add(vocabulary("lm_head.weight"));
  return declared;
}

}  // namespace jreg::model
