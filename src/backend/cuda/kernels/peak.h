#pragma once

#include "backend/cuda/context.h"
#include "backend/tensor.h"

namespace jreg::backend::cuda {

/// Starts `rounds` rounds of arithmetic on values in registers on every multiprocessor, and returns the floating point
/// operations that makes: for bf16 products of fragments with fp32 sums (mma.sync), else multiply-adds of fp32.
/// `result` holds one f32 and is not written.
double peak_arithmetic(Context const& context, DType dtype, int rounds, float* result);

}  // namespace jreg::backend::cuda
