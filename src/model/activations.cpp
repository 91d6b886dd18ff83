#include "model/activations.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::model {

using backend::Tensor;

std::int64_t logits_chunk(Dimensions const& dims, std::int64_t tokens) {
  // Fewer than 64 tokens would starve the matrix product.
  return std::clamp<std::int64_t>(dims.logits_elements / dims.vocab_rows / 64 * 64, 64,
                                  std::max<std::int64_t>(tokens, 64));
}

Recompute recompute_named(std::string const& name) {
  if (name == "none") return Recompute::none;
  if (name == "attention") return Recompute::attention;
  if (name == "mlp") return Recompute::mlp;
  expect(name == "block", "train.recompute holds one of its names");
  return Recompute::block;
}

namespace {

/// Every block's tensors. A block shares with the first what is computed again, and without a backward pass all.
std::vector<BlockActivations> place_blocks(backend::Placer& placer, Dimensions const& dims, DType dtype,
                                           std::int64_t sequences, bool with_backward, Recompute recompute) {
  backend::AttentionShape const shape = dims.attention(sequences);
  std::int64_t const tokens = shape.tokens();
  std::int64_t const local = tokens / dims.token_split;
  bool const whole = recompute == Recompute::block;
  std::vector<BlockActivations> blocks;
  BlockActivations b;
  for (std::int64_t block = 0; block < dims.layers; ++block) {
    bool const first = block == 0;
    if (first || with_backward) {
      b.attention_rstd = placer.tensor(DType::f32, 1, local);
      b.mlp_rstd = placer.tensor(DType::f32, 1, local);
    }
    if (first || (with_backward && !whole && recompute != Recompute::attention)) {
      b.qkv = placer.tensor(dtype, tokens, shape.qkv_columns());
      b.log_sum_exp = placer.tensor(DType::f32, sequences * dims.heads, dims.sequence);
      b.attended = placer.tensor(dtype, tokens, shape.query_columns());
    }
    // As large as the hidden state between blocks: keeping it, too, would double what `block` leaves.
    if (first || (with_backward && !whole)) b.middle = placer.tensor(dtype, local, dims.hidden);
    if (first || (with_backward && !whole && recompute != Recompute::mlp)) {
      b.gate_up = placer.tensor(dtype, tokens, 2 * dims.ffn);
    }
    blocks.push_back(b);
  }
  return blocks;
}

}  // namespace

Activations Activations::place(backend::Placer& placer, Dimensions const& dims, DType dtype, std::int64_t sequences,
                               bool with_backward, Recompute recompute) {
  backend::AttentionShape const shape = dims.attention(sequences);
  std::int64_t const tokens = shape.tokens();
  std::int64_t const local = tokens / dims.token_split;
  std::int64_t const hidden = dims.hidden;
  bool const split = dims.token_split > 1;

  Activations a;
  a.blocks = place_blocks(placer, dims, dtype, sequences, with_backward, recompute);
  for (std::int64_t state = 0; state <= dims.layers; ++state) {
    a.hidden.push_back(placer.tensor(dtype, local, hidden));
    backend::AngularRows rows;
    rows.norm = placer.tensor(DType::f32, 1, local);
    if (state > 0) {
      rows.displacement = placer.tensor(DType::f32, 1, local);
      rows.update_norm = placer.tensor(DType::f32, 1, local);
    }
    a.angular.push_back(rows);
  }
  a.final_rstd = placer.tensor(DType::f32, 1, local);
  a.final_normed = placer.tensor(dtype, local, hidden);

  a.normed = placer.tensor(dtype, local, hidden);
  if (split) a.full = placer.tensor(dtype, tokens, hidden);
  a.partial = placer.tensor(dtype, tokens, hidden);
  if (split) a.local = placer.tensor(dtype, local, hidden);
  if (with_backward) a.hidden_gradient = placer.tensor(dtype, local, hidden);
  std::int64_t const chunk = logits_chunk(dims, tokens);
  // The classifier computes between the blocks' forward and backward passes.
  auto const of_blocks = [&] {
    a.mlp = placer.tensor(dtype, tokens, dims.ffn);
    if (!with_backward) return;
    a.mlp_gradient = placer.tensor(dtype, tokens, dims.ffn);
    a.qkv_gradient = placer.tensor(dtype, tokens, shape.qkv_columns());
    a.attended_gradient = placer.tensor(dtype, tokens, shape.query_columns());
  };
  auto const of_classifier = [&] {
    a.logits = placer.tensor(DType::f32, chunk, dims.vocab_rows);
    if (dtype == DType::bf16 && with_backward) a.logits_low = placer.tensor(dtype, chunk, dims.vocab_rows);
  };
  placer.overlay(of_blocks, of_classifier);
  a.maximum = placer.tensor(DType::f32, 1, chunk);
  a.token_sums = placer.tensor(DType::f32, 2, chunk);
  return a;
}

namespace {

void shorten_rows(Tensor& tensor, std::int64_t rows) {
  if (tensor) tensor = tensor.row_range(0, rows);
}
void shorten_columns(Tensor& tensor, std::int64_t columns) {
  if (tensor) tensor = tensor.column_range(0, columns);
}

}  // namespace

Activations Activations::first(Dimensions const& dims, std::int64_t sequences) const {
  std::int64_t const tokens = sequences * dims.sequence;
  std::int64_t const share = tokens / dims.token_split;
  Activations a = *this;
  for (BlockActivations& b : a.blocks) {
    shorten_columns(b.attention_rstd, share);
    shorten_columns(b.mlp_rstd, share);
    shorten_rows(b.log_sum_exp, sequences * dims.heads);
    for (Tensor* const tensor : {&b.qkv, &b.attended, &b.gate_up}) shorten_rows(*tensor, tokens);
    shorten_rows(b.middle, share);
  }
  for (Tensor& hidden_state : a.hidden) shorten_rows(hidden_state, share);
  for (backend::AngularRows& rows : a.angular) {
    for (Tensor* const row : {&rows.norm, &rows.displacement, &rows.update_norm}) shorten_columns(*row, share);
  }
  shorten_columns(a.final_rstd, share);
  for (Tensor* const tensor : {&a.final_normed, &a.normed, &a.local, &a.hidden_gradient}) shorten_rows(*tensor, share);
  for (Tensor* const tensor : {&a.full, &a.partial, &a.mlp, &a.mlp_gradient, &a.qkv_gradient, &a.attended_gradient}) {
    shorten_rows(*tensor, tokens);
  }
  return a;
}

}  // namespace jreg::model
