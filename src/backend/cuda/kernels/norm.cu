#include "backend/cuda/kernels/norm.h"

namespace jreg::backend::cuda {

void residual_norm(Context const&, ResidualNorm const&) {
  expect(false, "residual_norm is written");
}

void norm_again(Context const&, Tensor const&, Tensor const&, Tensor const&, Tensor const&) {
  expect(false, "norm_again is written");
}

void norm_backward(Context const&, NormBackward const&) {
  expect(false, "norm_backward is written");
}

}  // namespace jreg::backend::cuda
