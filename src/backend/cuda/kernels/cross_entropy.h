#pragma once

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

// As in Ops.
void logits_max(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                Tensor const& maximum);
void logits_sum(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                Tensor const& maximum, Tensor const& targets, Tensor const& sums);
void logits_gradient(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                     Tensor const& maximum, Tensor const& sums, Tensor const& targets, float scale,
                     Tensor const& gradient);
void add_token_losses(Context const& context, Tensor const& sums, Tensor const& loss);

}  // namespace jreg::backend::cuda
