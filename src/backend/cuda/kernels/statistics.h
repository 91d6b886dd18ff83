#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void add_angular_sums(Context const& context, AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums);
void add_histogram(Context const& context, Tensor const& displacement, Tensor const& counts);
void add_squares(Context const& context, Tensor const& values, Tensor const& sum);

}  // namespace jreg::backend::cuda
