#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/workspace.h"

namespace jreg::backend::cuda {

/// What an operation runs with.
struct Context {
  cudaStream_t stream = nullptr;
  Workspace* workspace = nullptr;
  int multiprocessors = 0;           // of the GPU, to size grids that stay resident
  std::size_t shared_per_block = 0;  // bytes of shared memory that a block can have if it asks
};

}  // namespace jreg::backend::cuda
