#pragma once

#include "backend/cuda/context.h"
#include "backend/tensor.h"

namespace jreg::backend::cuda {

/// Elements of a factor lie `row` and `column` elements apart, so that a transposed factor is one with both exchanged.
struct Factor {
  void const* data = nullptr;
  std::int64_t row = 0;
  std::int64_t column = 0;
};

/// The plain product of `rows` x `inner` by `inner` x `c.columns`, on the units for fp32: c = a b, or c += a b, for
/// every address and stride. Each element is one fp32 sum in the order of the inner index, rounded once.
/// `factors`: f32 or bf16; c is of that type or f32.
void product(Context const& context, DType factors, Factor const& a, Factor const& b, std::int64_t inner,
             Tensor const& c, bool accumulate);

}  // namespace jreg::backend::cuda
