#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

/// Matrix products through cuBLASLt on one stream.
class MatrixProducts {
public:
  /// `bytes` of working memory at `workspace`, which outlives this.
  MatrixProducts(void* workspace, std::size_t bytes);
  MatrixProducts(MatrixProducts const&) = delete;
  MatrixProducts& operator=(MatrixProducts const&) = delete;
  ~MatrixProducts();

  /// c = a b, or c += a b; row-major, a factor perhaps transposed. Factors are both f32 or both bf16; c is of that type
  /// or f32. Sums are f32; f32 factors are not rounded to a shorter type.
  void multiply(Context const& context, Tensor const& a, bool a_transposed, Tensor const& b, bool b_transposed,
                Tensor const& c, bool accumulate);
};

}  // namespace jreg::backend::cuda
