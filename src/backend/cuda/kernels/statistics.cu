#include "backend/cuda/kernels/statistics.h"

namespace jreg::backend::cuda {

void add_angular_sums(Context const&, AngularRows const&, Tensor const&, Tensor const&) {
  expect(false, "add_angular_sums is written");
}

void add_histogram(Context const&, Tensor const&, Tensor const&) {
  expect(false, "add_histogram is written");
}

void add_squares(Context const&, Tensor const&, Tensor const&) {
  expect(false, "add_squares is written");
}

}  // namespace jreg::backend::cuda
