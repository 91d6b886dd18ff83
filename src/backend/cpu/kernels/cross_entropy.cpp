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

void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                     Tensor const& sums, Tensor const& targets, float scale, Range tokens) {
  auto const* const target_ids = static_cast<std::int32_t const*>(targets.data);
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* const row = row_of<float>(logits, t);
    float const largest = values_of(maximum)[t];
    float const factor = scale / row_of<float const>(sums, 0)[t];
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) row[i] = factor * exponential(row[i] - largest);
#pragma omp simd
    for (std::int64_t i = columns; i < logits.columns; ++i) row[i] = 0;
    std::int64_t const target = target_ids[t] - first;
    if (target >= 0 && target < columns) row[target] -= scale;
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
