#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

void logits_max(Tensor const& logits, std::int64_t columns, Tensor const& maximum, Range tokens) {
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    float const* const row = row_of<float const>(logits, t);
    std::int32_t largest = order_key(-__builtin_inff());
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < columns; ++i) {
      std::int32_t const key = order_key(row[i]);
      largest = key > largest ? key : largest;
    }
    values_of(maximum)[t] = from_order_key(largest);
  }
}

void logits_sum(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                Tensor const& targets, Tensor const& sums, Range tokens) {
  auto const* const target_ids = static_cast<std::int32_t const*>(targets.data);
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    float const* const row = row_of<float const>(logits, t);
    float const largest = values_of(maximum)[t];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < columns; ++i) sum += exponential(row[i] - largest);
    std::int64_t const target = target_ids[t] - first;
    row_of<float>(sums, 0)[t] = sum;
    row_of<float>(sums, 1)[t] = target >= 0 && target < columns ? row[target] - largest : 0.0F;
  }
}

namespace {

template <class T>
void gradient_rows(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                   Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient, Range tokens) {
  auto const* const target_ids = static_cast<std::int32_t const*>(targets.data);
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    float const* const row = row_of<float const>(logits, t);
    T* const out = row_of<T>(gradient, t);
    float const largest = values_of(maximum)[t];
    float const factor = scale / row_of<float const>(sums, 0)[t];
    std::int64_t const target = target_ids[t] - first;
    bool const own = target >= 0 && target < columns;
    // Read before the row is written, which may be the same memory.
    float const at_target = own ? factor * exponential(row[target] - largest) - scale : 0.0F;
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) store(out, i, factor * exponential(row[i] - largest));
#pragma omp simd
    for (std::int64_t i = columns; i < gradient.columns; ++i) store(out, i, 0.0F);
    if (own) store(out, target, at_target);
  }
}

}  // namespace

void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                     Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient, Range tokens) {
  if (gradient.dtype == DType::f32) {
    gradient_rows<float>(logits, first, columns, maximum, sums, targets, scale, gradient, tokens);
  } else {
    gradient_rows<bfloat16>(logits, first, columns, maximum, sums, targets, scale, gradient, tokens);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
