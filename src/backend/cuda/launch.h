#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "backend/cuda/check.h"

namespace jreg::backend::cuda {

/// Dynamic shared memory that a kernel gets without asking for more.
constexpr std::size_t default_shared_bytes = 48 * 1024;
/// The largest number of blocks along x, and along y and z.
constexpr std::int64_t largest_grid_x = 2147483647;
constexpr std::int64_t largest_grid_yz = 65535;

/// kernel<<<grid, block, shared, stream>>>(arguments...), checked.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
            Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > default_shared_bytes) {
    check(cudaFuncSetAttribute(reinterpret_cast<void const*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared)),
          "give a kernel its shared memory");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), "launch a kernel");
}

/// How many groups of `size` cover `count`.
constexpr std::int64_t groups_of(std::int64_t size, std::int64_t count) {
  return (count + size - 1) / size;
}

/// The same as an extent of a grid.
inline unsigned blocks_for(std::int64_t count, std::int64_t size) {
  return static_cast<unsigned>(groups_of(size, count));
}

}  // namespace jreg::backend::cuda
