#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void embedding(Context const& context, Tensor const& tokens, Tensor const& table, std::int64_t first_row,
               Tensor const& out);
void embedding_backward(Context const& context, Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                        Tensor const& dtable);

}  // namespace jreg::backend::cuda
