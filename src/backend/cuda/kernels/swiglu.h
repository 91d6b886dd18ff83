#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void swiglu(Context const& context, Tensor const& gate_up, Tensor const& out);
void swiglu_backward(Context const& context, Tensor const& gate_up, Tensor const& dout, Tensor const& out);

}  // namespace jreg::backend::cuda
