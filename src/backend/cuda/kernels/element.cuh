#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backend/tensor.h"

namespace jreg::backend::cuda {

/// bf16 as kernels hold it; the same bits as jreg::bfloat16.
using Bf16 = __nv_bfloat16;

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(Bf16 value) {
  return __bfloat162float(value);
}
template <class T> __device__ T from_float(float value);
template <> __device__ inline float from_float<float>(float value) {
  return value;
}
template <> __device__ inline Bf16 from_float<Bf16>(float value) {
  return __float2bfloat16_rn(value);
}

/// Elements of T in an access of 16 bytes.
template <class T> inline constexpr int full_width = 16 / static_cast<int>(sizeof(T));

/// Whether rows of the tensor may be read in accesses of `width` elements: base, stride and columns allow for it.
/// An absent tensor allows for all.
inline bool allows_width(Tensor const& tensor, int width) {
  if (!tensor) return true;
  auto const bytes = static_cast<std::uintptr_t>(width) * size_of(tensor.dtype);
  return reinterpret_cast<std::uintptr_t>(tensor.data) % bytes == 0 && tensor.columns % width == 0 &&
         (tensor.rows <= 1 || tensor.stride % width == 0);
}

}  // namespace jreg::backend::cuda
