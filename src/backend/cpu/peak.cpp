#include "backend/cpu/peak.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace jreg::backend::cpu {

namespace {

using Loop = double (*)(std::int64_t rounds, float* values);

bool has_bf16_dot() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// Operations per second of all threads together; each counts from when all have begun.
double rate_of(Loop loop, std::int64_t rounds) {
  using Clock = std::chrono::steady_clock;
  double rate = 0;
#pragma omp parallel reduction(+ : rate)
  {
    std::array<float, 6> values{0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.25F};
#pragma omp barrier
    auto const begin = Clock::now();
    double const operations = loop(rounds, values.data());
    double const seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    rate += operations / seconds;
  }
  return rate;
}

}  // namespace

double arithmetic_peak(KernelTable const& kernels, DType dtype) {
  constexpr std::int64_t rounds = 200'000;  // about a millisecond
  bool const dot = dtype == DType::bf16 && has_bf16_dot();
  double best = 0;
  for (int i = 0; i < 8 && dot; ++i) best = std::max(best, rate_of(kernels.bf16_dot, rounds));
  if (best > 0) return best;
  for (int i = 0; i < 8; ++i) best = std::max(best, rate_of(kernels.multiply_add, rounds));
  return best;
}

}  // namespace jreg::backend::cpu
