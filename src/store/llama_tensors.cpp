#include "store/llama_tensors.h"

#include <fmt/format.h>

namespace jreg::store {

void for_each_tensor(config::ModelConfig const& model,
                     std::function<void(std::string const& name, Shape const& shape)> const& visit) {
  Shape const gain = Shape::of_vector(model.hidden);
  Shape const vocabulary = Shape::of_matrix(model.vocab, model.hidden);
  Shape const queries = Shape::of_matrix(model.heads * model.head_size, model.hidden);
  Shape const keys = Shape::of_matrix(model.kv_heads * model.head_size, model.hidden);
  Shape const wide = Shape::of_matrix(model.ffn, model.hidden);
  visit(embedding_name, vocabulary);
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    std::string const block = fmt::format("model.layers.{}.", layer);
    visit(block + "input_layernorm.weight", gain);
    visit(block + "self_attn.q_proj.weight", queries);
    visit(block + "self_attn.k_proj.weight", keys);
    visit(block + "self_attn.v_proj.weight", keys);
    visit(block + "self_attn.o_proj.weight", Shape::of_matrix(model.hidden, model.heads * model.head_size));
    visit(block + "post_attention_layernorm.weight", gain);
    visit(block + "mlp.gate_proj.weight", wide);
    visit(block + "mlp.up_proj.weight", wide);
    visit(block + "mlp.down_proj.weight", Shape::of_matrix(model.hidden, model.ffn));
  }
  visit("model.norm.weight", gain);
  if (!model.tie_embeddings) visit(head_name, vocabulary);
}

}  // namespace jreg::store
