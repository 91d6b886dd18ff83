#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void attention(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
               Tensor const& out, Tensor const& log_sum_exp);
void attention_backward(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                        Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                        Tensor const& dqkv);

}  // namespace jreg::backend::cuda
