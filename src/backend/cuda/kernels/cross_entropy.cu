#include "backend/cuda/kernels/cross_entropy.h"

namespace jreg::backend::cuda {

void logits_max(Context const&, Tensor const&, std::int64_t, std::int64_t, Tensor const&) {
  expect(false, "logits_max is written");
}

void logits_sum(Context const&, Tensor const&, std::int64_t, std::int64_t, Tensor const&, Tensor const&,
                Tensor const&) {
  expect(false, "logits_sum is written");
}

void logits_gradient(Context const&, Tensor const&, std::int64_t, std::int64_t, Tensor const&, Tensor const&,
                     Tensor const&, float) {
  expect(false, "logits_gradient is written");
}

void add_token_losses(Context const&, Tensor const&, Tensor const&) {
  expect(false, "add_token_losses is written");
}

}  // namespace jreg::backend::cuda
