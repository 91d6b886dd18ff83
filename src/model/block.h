#pragma once

#include "model/activations.h"
#include "model/micro_batch.h"
#include "model/parameters.h"
#include "model/token_exchange.h"
#include "params/store.h"

namespace jreg::model {

/// What every block of a model works with.
struct BlockContext {
  backend::Ops& ops;
  TokenExchange const& exchange;
  Dimensions const& dims;
  params::Store const& store;
  backend::Rotation rotation;
};

/// Called between the larger operations of a pass, so that transfers under way move on.
using Between = std::function<void()>;

// Each function takes the micro-batch's memory `a` and the block's own part `b` of it; `a` is of the size of `batch`.

/// a.normed (t, H) -> what attention adds to the residual stream, (t, H).
backend::Tensor attention_forward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                                  BlockActivations const& b, MicroBatch const& batch, Between const& between);
/// a.normed (t, H) -> what the MLP adds to the residual stream, (t, H).
backend::Tensor mlp_forward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                            BlockActivations const& b, Between const& between);

/// Gradient of the residual stream behind the MLP, a.hidden_gradient (t, H), -> gradient of its normed input (t, H);
/// adds to the gradients of its weights. Overwrites b.gate_up; where `again` is set it is computed first.
backend::Tensor mlp_backward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                             BlockActivations const& b, bool again, Between const& between);
/// The same of attention; `hidden` (t, H) is the block's input h_{l-1}. Where `again` is set, b.qkv, b.log_sum_exp and
/// b.attended are computed first.
backend::Tensor attention_backward(BlockContext const& context, BlockParameters const& p, Activations const& a,
                                   BlockActivations const& b, backend::Tensor const& hidden, MicroBatch const& batch,
                                   bool again, Between const& between);

}  // namespace jreg::model
