#pragma once

#include <cstddef>
#include <vector>

#include "config/config.h"
#include "params/registry.h"

namespace jreg::model {

/// Where a block's parameters stand in the registry. Query, key and value lie together as one matrix, and so do gate
/// and up.
struct BlockParameters {
  std::size_t attention_norm = 0;  // (hidden)
  std::size_t query = 0;           // (heads * head_size, hidden)                  split by rows
  std::size_t key = 0;             // (kv_heads * head_size, hidden)               split by rows, or repeated
  std::size_t value = 0;           // (kv_heads * head_size, hidden)               split by rows, or repeated
  std::size_t output = 0;          // (hidden, heads * head_size)                  split by columns
  std::size_t mlp_norm = 0;        // (hidden)
  std::size_t gate = 0;            // (ffn, hidden)                                split by rows
  std::size_t up = 0;              // (ffn, hidden)                                split by rows
  std::size_t down = 0;            // (hidden, ffn)                                split by columns
};

struct LlamaParameters {
  std::size_t embedding = 0;  // (vocab, hidden)                                   split by rows, padded
  std::vector<BlockParameters> blocks;
  std::size_t final_norm = 0;  // (hidden)
  std::size_t head = 0;        // (vocab, hidden), or the embedding when tied      split by rows, padded
};

/// Units of the registry: 0 the embedding, 1..L the blocks, L+1 final norm and head.
struct DeclaredModel {
  params::Registry registry;
  LlamaParameters index;
};

/// Declares LlamaForCausalLM's parameters under Hugging Face's names.
DeclaredModel declare_parameters(config::ModelConfig const& model, mesh::Coordinates at, bool sequence_parallel);

}  // namespace jreg::model
