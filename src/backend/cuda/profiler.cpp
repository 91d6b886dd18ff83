#include <cuda_profiler_api.h>
#include <nvtx3/nvToolsExt.h>

#include "backend/cuda/check.h"
#include "backend/cuda/cuda_backend.h"

// Nsight Systems and Nsight Compute show NVTX ranges; under `nsys profile --capture-range=cudaProfilerApi` only what
// lies between cudaProfilerStart and cudaProfilerStop is recorded.
namespace jreg::backend::cuda {

void CudaBackend::begin_range(char const* name) {
  nvtxRangePushA(name);
}

void CudaBackend::end_range() noexcept {
  nvtxRangePop();
}

void CudaBackend::record_profile(bool on) {
  synchronize();  // what was queued before belongs to the other side
  check(on ? cudaProfilerStart() : cudaProfilerStop(), on ? "start the profiler" : "stop the profiler");
}

}  // namespace jreg::backend::cuda
