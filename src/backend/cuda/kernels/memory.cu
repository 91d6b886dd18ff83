#include "backend/cuda/kernels/memory.h"

namespace jreg::backend::cuda {

void zero(Context const&, Tensor const&) {
  expect(false, "zero is written");
}

void copy(Context const&, Tensor const&, Tensor const&) {
  expect(false, "copy is written");
}

}  // namespace jreg::backend::cuda
