#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void rope(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
          Tensor const& cosine, Tensor const& sine, Direction direction);

}  // namespace jreg::backend::cuda
