#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <tuple>
#include <utility>

#include "emulation/block.h"
#include "emulation/stream.h"

namespace emulation {

/// What a GPU would say of such a launch of `kernel`.
cudaError_t check_launch(cudaLaunchConfig_t const& config, void const* kernel);

}  // namespace emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  cudaError_t const status = emulation::check_launch(*config, reinterpret_cast<void const*>(kernel));
  if (status != cudaSuccess) return status;
  std::tuple<Parameters...> values{static_cast<Parameters>(std::forward<Arguments>(arguments))...};
  emulation::enqueue(config->stream, [launch = *config, kernel, values] {
    emulation::run_grid(launch.gridDim, launch.blockDim, launch.dynamicSmemBytes,
                        [&] { std::apply([&](Parameters const&... each) { kernel(each...); }, values); });
    return true;
  });
  return cudaSuccess;
}
