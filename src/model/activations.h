#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/arena.h"
#include "config/config.h"

namespace jreg::model {

/// Sizes of a model as one rank computes it.
struct Dimensions {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;       // this rank's
  std::int64_t heads = 0;     // this rank's query heads
  std::int64_t kv_heads = 0;  // this rank's key/value heads
  std::int64_t head_size = 0;
  std::int64_t vocab = 0;       // of the whole model, without padding
  std::int64_t vocab_rows = 0;  // this rank's rows of embedding and head, with padding
  std::int64_t sequence = 0;
  std::int64_t token_split = 1;      // ranks that split the tokens between blocks
  std::int64_t logits_elements = 0;  // of the classifier's piece, about

  backend::AttentionShape attention(std::int64_t sequences) const {
    return {sequences, sequence, heads, kv_heads, head_size};
  }
};

/// What is not kept for the backward pass but computed again in it, by the same operations on the same numbers: every
/// setting gives the same bits. Hidden states between blocks, their angular rows and the norms' rstd are always kept.
enum class Recompute {
  none,
  attention,  // again: qkv, attention. Costs these; no collective is repeated
  mlp,        // again: gate_up. Costs that product; no collective is repeated
  block,      // again: both of the above and `middle`, and with it the sum over tensor ranks behind attention
};

/// Of the names above, as train.recompute holds them.
Recompute recompute_named(std::string const& name);

/// What a block keeps for its backward pass. T: tokens of the micro-batch; t: this rank's tokens between blocks. What
/// is computed again lies in memory that all blocks share; behind a forward pass it is the last block's.
struct BlockActivations {
  backend::Tensor attention_rstd;  // (1, t) f32
  backend::Tensor qkv;             // (T, qkv_columns) rotated
  backend::Tensor log_sum_exp;     // (sequences * heads, sequence) f32
  backend::Tensor attended;        // (T, query_columns)
  backend::Tensor middle;          // (t, H) after the attention's residual addition
  backend::Tensor mlp_rstd;        // (1, t) f32
  backend::Tensor gate_up;         // (T, 2 ffn)
};

/// Memory of one micro-batch's forward and backward pass. Hidden states are kept as stored between blocks; normed
/// states and SwiGLU outputs are always computed again in backward, which costs one pass over memory each.
struct Activations {
  std::vector<BlockActivations> blocks;       // L
  std::vector<backend::Tensor> hidden;        // L + 1: (t, H) h_0 .. h_L, block outputs
  std::vector<backend::AngularRows> angular;  // L + 1: rows (1, t); where the final state is normed the last is of it
  backend::Tensor final_rstd;                 // (1, t)
  backend::Tensor final_normed;               // (t, H)

  // Scratch of the pass.
  backend::Tensor normed;           // (t, H)
  backend::Tensor full;             // (T, H) gathered tokens; only where tokens are split
  backend::Tensor partial;          // (T, H) what tensor ranks sum; before, in backward, gathered gradients
  backend::Tensor local;            // (t, H) this rank's tokens of it; only where tokens are split
  backend::Tensor hidden_gradient;  // (t, H)
  // Of a block.
  backend::Tensor mlp;                // (T, ffn)
  backend::Tensor mlp_gradient;       // (T, ffn)
  backend::Tensor qkv_gradient;       // (T, qkv_columns)
  backend::Tensor attended_gradient;  // (T, query_columns)
  // Of the classifier, in the same memory.
  backend::Tensor logits;      // (chunk, vocab_rows) f32
  backend::Tensor logits_low;  // (chunk, vocab_rows) bf16; only in bf16
  backend::Tensor maximum;     // (1, chunk) f32
  backend::Tensor token_sums;  // (2, chunk) f32

  /// Tensors for up to `sequences` sequences; backward's scratch only where `with_backward`.
  static Activations place(backend::Placer& placer, Dimensions const& dims, DType dtype, std::int64_t sequences,
                           bool with_backward, Recompute recompute);
  /// The same memory seen as a micro-batch of fewer sequences.
  Activations first(Dimensions const& dims, std::int64_t sequences) const;
};

/// Tokens of the classifier that are computed at once: bounds the memory of logits.
std::int64_t logits_chunk(Dimensions const& dims, std::int64_t tokens);

}  // namespace jreg::model
