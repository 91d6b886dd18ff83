#include "model/head.h"

#include <algorithm>

namespace jreg::model {
namespace {

using backend::Reduction;
using backend::Tensor;

/// One chunk of tokens on its way through the classifier.
struct Chunk {
  Tensor normed;   // (n, H)
  Tensor targets;  // (1, n)
  Tensor logits;   // (n, vocab_rows) f32
  Tensor maximum;  // (1, n)
  Tensor sums;     // (2, n) in whole, so that both rows travel in one piece
};

/// Calls `visit(chunk, first token, last token)` with the logits of tokens [first, last) of the micro-batch, their
/// maxima and sums over the whole vocabulary. state (T, H) is what the classifier reads.
template <class Visit>
void for_chunks(HeadContext const& context, Activations const& a, Tensor const& state, Tensor const& targets,
                TokenRange range, Visit const& visit) {
  backend::Ops& ops = context.block.ops;
  Dimensions const& dims = context.block.dims;
  params::Store const& store = context.block.store;
  std::int64_t const first_row = store.registry()[context.weight].row_begin;
  std::int64_t const size = a.logits.rows;
  for (std::int64_t begin = range.begin; begin < range.end; begin += size) {
    std::int64_t const end = std::min(range.end, begin + size);
    std::int64_t const n = end - begin;
    Chunk const chunk{.normed = state.row_range(begin, end),
                      .targets = targets.column_range(begin, end),
                      .logits = a.logits.row_range(0, n),
                      .maximum = a.maximum.column_range(0, n),
                      .sums = Tensor{a.token_sums.data, DType::f32, 2, n}};
    ops.linear(chunk.normed, store.weight(context.weight), chunk.logits);
    ops.logits_max(chunk.logits, first_row, dims.vocab, chunk.maximum);
    context.mesh.tensor().all_reduce(chunk.maximum, Reduction::max);
    ops.logits_sum(chunk.logits, first_row, dims.vocab, chunk.maximum, chunk.targets, chunk.sums);
    context.mesh.tensor().all_reduce(chunk.sums, Reduction::sum);
    visit(chunk, begin, end);
  }
}

}  // namespace

void add_loss(HeadContext const& context, Activations const& a, Tensor const& normed, MicroBatch const& batch,
              Tensor const& loss) {
  Tensor const state = context.block.exchange.gather(normed, a.full);  // (T, H)
  auto const add = [&](TokenRange range) {
    for_chunks(context, a, state, batch.targets, range, [&](Chunk const& chunk, std::int64_t, std::int64_t) {
      context.block.ops.add_token_losses(chunk.sums, loss);
    });
  };
  if (batch.counted.empty()) return add({0, state.rows});
  for (TokenRange const range : batch.counted) add(range);
}

void add_loss_and_gradient(HeadContext const& context, Activations const& a, MicroBatch const& batch,
                           Tensor const& loss, float scale) {
  expect(batch.counted.empty(), "every token counts in training");
  backend::Ops& ops = context.block.ops;
  params::Store const& store = context.block.store;
  std::int64_t const first_row = store.registry()[context.weight].row_begin;
  Tensor const state = context.block.exchange.gather(a.final_normed, a.full);  // (T, H)
  auto const visit = [&](Chunk const& chunk, std::int64_t begin, std::int64_t end) {
    ops.add_token_losses(chunk.sums, loss);
    // (n, vocab_rows), in the type of the products that read it.
    Tensor const gradient = a.logits_low ? a.logits_low.row_range(0, end - begin) : chunk.logits;
    ops.logits_gradient(chunk.logits, first_row, context.block.dims.vocab, chunk.maximum, chunk.sums, chunk.targets,
                        scale, gradient);
    ops.linear_weight_gradient(gradient, chunk.normed, store.gradient(context.weight));
    ops.linear_input_gradient(gradient, store.weight(context.weight), a.partial.row_range(begin, end), false);
  };
  for_chunks(context, a, state, batch.targets, {0, state.rows}, visit);
}

void whole_logits(HeadContext const& context, Activations const& a, Tensor const& logits) {
  Tensor const normed = context.block.exchange.gather(a.final_normed, a.full);
  context.block.ops.linear(normed, context.block.store.weight(context.weight), logits);
}

}  // namespace jreg::model
