#pragma once

#include <cuda_runtime.h>

namespace jreg::backend::cuda {

constexpr int warp_size = 32;
constexpr unsigned whole_warp = 0xffffffffU;

/// Sum over the warp, the same bits in every lane.
template <class T> __device__ T warp_sum(T value) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(whole_warp, value, offset);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(whole_warp, value, offset));
  }
  return value;
}

/// Sums of `count` values over a block of `warps` full warps (one-dimensional), the same bits in every thread.
/// `shared` holds warps * count values; the block may use it again only after its next barrier.
template <int warps, int count, class T> __device__ void block_sum(T (&values)[count], T* shared) {
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  int const warp = static_cast<int>(threadIdx.x) / warp_size;
#pragma unroll
  for (int i = 0; i < count; ++i) values[i] = warp_sum(values[i]);
  if constexpr (warps > 1) {
    if (lane == 0) {
#pragma unroll
      for (int i = 0; i < count; ++i) shared[warp * count + i] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < count; ++i) {
      values[i] = 0;
      for (int w = 0; w < warps; ++w) values[i] += shared[w * count + i];
    }
  }
}

}  // namespace jreg::backend::cuda
