// What the arithmetic units do on registers alone: the ceiling of every product.
#include "backend/cpu/kernels/level.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

// Enough sums at once that none waits for the one before, and no more than there are registers beside the factors.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
constexpr int sums = 24;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
constexpr int sums = 12;
#else
constexpr int vector_bytes = 16;
constexpr int sums = 12;
#endif

using Vector [[gnu::vector_size(vector_bytes)]] = float;
constexpr int lanes = vector_bytes / 4;

/// The results are used, so that they have to be computed.
inline void add_lanes(Vector const* sum, float* values) {
  Vector total{};
  for (int i = 0; i < sums; ++i) total += sum[i];
  for (int lane = 0; lane < lanes; ++lane) values[0] += total[lane];
}

}  // namespace

double multiply_add(std::int64_t rounds, float* values) {
  Vector sum[sums];
  for (int i = 0; i < sums; ++i) sum[i] = values[i % 4] + Vector{};
  Vector const factor = values[4] + Vector{};
  Vector const summand = values[5] + Vector{};
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < sums; ++i) sum[i] = sum[i] * factor + summand;
  }
  add_lanes(sum, values);
  return 2.0 * lanes * sums * static_cast<double>(rounds);
}

#if defined(__AVX512F__)
[[gnu::target("avx512bf16")]] double bf16_dot(std::int64_t rounds, float* values) {
  Vector sum[sums];
  for (int i = 0; i < sums; ++i) sum[i] = values[i % 4] + Vector{};
  auto const left = (__m512bh)(values[4] + Vector{});
  auto const right = (__m512bh)(values[5] + Vector{});
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < sums; ++i) sum[i] = (Vector)_mm512_dpbf16_ps((__m512)sum[i], left, right);
  }
  add_lanes(sum, values);
  return 2.0 * 2 * lanes * sums * static_cast<double>(rounds);
}
#else
double bf16_dot(std::int64_t, float*) {
  return 0;
}
#endif

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
