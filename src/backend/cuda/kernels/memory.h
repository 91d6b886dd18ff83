#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void zero(Context const& context, Tensor const& values);
void copy(Context const& context, Tensor const& from, Tensor const& to);

}  // namespace jreg::backend::cuda
