#include "model/block.h"

namespace jreg::model {

using backend::Tensor;

namespace {

/// normed (T, H) -> b.qkv, b.attended, b.log_sum_exp.
void attend(BlockContext const& context, BlockParameters const& p, Tensor const& normed, BlockActivations const& b,
            MicroBatch const& batch, Between const& between) {
  backend::AttentionShape const shape = context.dims.attention(batch.sequences);
  context.ops.linear(normed, context.store.weights(p.query, p.value + 1), b.qkv);
  between();
  context.ops.rope(shape, b.qkv, batch.first, context.rotation);
  context.ops.attention(shape, b.qkv, batch.first, b.attended, b.log_sum_exp);
  between();
}

}  // namespace

Tensor attention_forward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                         BlockActivations const& b, MicroBatch const& batch, Between const& between) {
  attend(context, p, context.exchange.gather(a.normed, a.full), b, batch, between);
  context.ops.linear(b.attended, context.store.weight(p.output), a.partial);
  between();
  return context.exchange.reduce(a.partial, a.local);
}

Tensor mlp_forward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                   BlockActivations const& b, Between const& between) {
  Tensor const normed = context.exchange.gather(a.normed, a.full);  // (T, H)
  context.ops.linear(normed, context.store.weights(p.gate, p.up + 1), b.gate_up);
  between();
  context.ops.swiglu(b.gate_up, a.mlp);
  context.ops.linear(a.mlp, context.store.weight(p.down), a.partial);
  between();
  return context.exchange.reduce(a.partial, a.local);
}

// The backward passes gather gradients into a.partial, free until their last product: a.full holds the normed tokens
// from where they are computed again to their weight's gradient, and so is gathered once.

Tensor mlp_backward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                    BlockActivations const& b, bool again, Between const& between) {
  params::Store const& store = context.store;
  context.ops.norm_again(b.middle, store.weight(p.mlp_norm), b.mlp_rstd, a.normed);
  Tensor const normed = context.exchange.gather(a.normed, a.full);  // (T, H)
  if (again) {
    context.ops.linear(normed, store.weights(p.gate, p.up + 1), b.gate_up);
    between();
  }
  Tensor const gradient = context.exchange.gather(a.hidden_gradient, a.partial);  // (T, H)
  context.ops.linear_input_gradient(gradient, store.weight(p.down), a.mlp_gradient, false);
  between();
  context.ops.swiglu_backward(b.gate_up, a.mlp_gradient, a.mlp);  // b.gate_up is its gradient from here
  context.ops.linear_weight_gradient(gradient, a.mlp, store.gradient(p.down));
  between();
  context.ops.linear_weight_gradient(b.gate_up, normed, store.gradients(p.gate, p.up + 1));
  between();
  context.ops.linear_input_gradient(b.gate_up, store.weights(p.gate, p.up + 1), a.partial, false);
  between();
  return context.exchange.reduce(a.partial, a.local);
}

Tensor attention_backward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                          BlockActivations const& b, Tensor const& hidden, MicroBatch const& batch, bool again,
                          Between const& between) {
  params::Store const& store = context.store;
  backend::AttentionShape const shape = context.dims.attention(batch.sequences);
  context.ops.norm_again(hidden, store.weight(p.attention_norm), b.attention_rstd, a.normed);
  Tensor const normed = context.exchange.gather(a.normed, a.full);  // (T, H)
  if (again) attend(context, p, normed, b, batch, between);
  Tensor const gradient = context.exchange.gather(a.hidden_gradient, a.partial);  // (T, H)
  context.ops.linear_input_gradient(gradient, store.weight(p.output), a.attended_gradient, false);
  between();
  context.ops.linear_weight_gradient(gradient, b.attended, store.gradient(p.output));
  between();
  context.ops.attention_backward(shape, b.qkv, batch.first, b.attended, b.log_sum_exp, a.attended_gradient,
                                 context.rotation, a.qkv_gradient);
  between();
  context.ops.linear_weight_gradient(a.qkv_gradient, normed, store.gradients(p.query, p.value + 1));
  between();
  context.ops.linear_input_gradient(a.qkv_gradient, store.weights(p.query, p.value + 1), a.partial, false);
  between();
  return context.exchange.reduce(a.partial, a.local);
}

}  // namespace jreg::model
