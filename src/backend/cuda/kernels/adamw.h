#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void adamw(Context const& context, AdamW const& args);

}  // namespace jreg::backend::cuda
