#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

enum class Turn { forward, back };

// As in Ops, and back again.
void rope(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
          Rotation const& rotation, Turn turn);

}  // namespace jreg::backend::cuda
