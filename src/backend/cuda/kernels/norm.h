#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void residual_norm(Context const& context, ResidualNorm const& args);
void norm_again(Context const& context, Tensor const& hidden, Tensor const& gain, Tensor const& rstd,
                Tensor const& normed);
void norm_backward(Context const& context, NormBackward const& args);

}  // namespace jreg::backend::cuda
