#include "backend/cuda/kernels/peak.h"

#include "backend/cuda/kernels/ptx.cuh"
#include "backend/cuda/kernels/reduce.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {
namespace {

constexpr int threads = 256;
constexpr int blocks_per_multiprocessor = 8;  // 64 warps: as many as fit
// Enough sums at once that none waits for the one before, and few enough that all of these warps have their registers.
constexpr int fragments = 4;
constexpr int sums = 16;

/// Never true, but the compiler does not know: the sums have to be computed.
__device__ inline bool impossible(float value) {
  return value == 1.2345678e-30F;
}

__global__ void __launch_bounds__(threads) mma_kernel(int rounds, float* result) {
  // bf16 numbers near 1e-3 and 1e-2: sums stay finite.
  std::uint32_t const a[4] = {0x3a833a83U, 0x3a833a83U, 0x3a833a83U, 0x3a833a83U + threadIdx.x % 2};
  std::uint32_t const b[2] = {0x3c243c24U, 0x3c243c24U};
  float d[fragments][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < fragments; ++i) mma_bf16(d[i], a, b);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < fragments; ++i) total += d[i][0] + d[i][1] + d[i][2] + d[i][3];
  if (impossible(total)) *result = total;
}

__global__ void __launch_bounds__(threads) fma_kernel(int rounds, float factor, float* result) {
  float d[sums];
#pragma unroll
  for (int i = 0; i < sums; ++i) d[i] = static_cast<float>(i) + static_cast<float>(threadIdx.x);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < sums; ++i) d[i] = fmaf(d[i], factor, 0.25F);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < sums; ++i) total += d[i];
  if (impossible(total)) *result = total;
}

}  // namespace

double peak_arithmetic(Context const& context, DType dtype, int rounds, float* result) {
  int const blocks = blocks_per_multiprocessor * context.multiprocessors;
  double const warps = static_cast<double>(blocks) * threads / warp_size;
  if (dtype == DType::bf16) {
    launch(mma_kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads), 0, context.stream, rounds, result);
    return warps * rounds * fragments * 2.0 * 16 * 8 * 16;
  }
  launch(fma_kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads), 0, context.stream, rounds, 0.5F, result);
  return warps * warp_size * rounds * sums * 2.0;
}

}  // namespace jreg::backend::cuda
