#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

template <bool has_compute> void update(AdamW const& args, Range elements) {
  float* const weight = values_of(args.weight);
  float const* const gradient = values_of(args.gradient);
  float* const first = values_of(args.first);
  float* const second = values_of(args.second);
  auto* const compute = static_cast<bfloat16*>(args.compute.data);
  float const scale = args.gradient_scale;
  float const beta1 = args.beta1;
  float const beta2 = args.beta2;
  float const eps = args.eps;
  float const kept = 1 - args.rate * args.decay;
  float const rate = args.rate / args.correction1;
  float const root = 1 / __builtin_sqrtf(args.correction2);
#pragma omp simd
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    float const g = scale * gradient[i];
    float const m = beta1 * first[i] + (1 - beta1) * g;
    float const v = beta2 * second[i] + (1 - beta2) * g * g;
    float const w = kept * weight[i] - rate * m / (__builtin_sqrtf(v) * root + eps);
    first[i] = m;
    second[i] = v;
    weight[i] = w;
    if constexpr (has_compute) store(compute, i, w);
  }
}

}  // namespace

void adamw(AdamW const& args, Range elements) {
  if (args.compute.data != nullptr) {
    update<true>(args, elements);
  } else {
    update<false>(args, elements);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
