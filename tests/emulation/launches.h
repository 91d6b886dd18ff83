#pragma once

#include <cuda_runtime_api.h>

namespace emulation {

/// Where JREG_EMULATED_LAUNCHES names a file, adds a line to it for every kernel and size of block that is new to this
/// process: threads of a block, bytes of dynamic shared memory, the kernel's name. tools/kernel_report.py reads it.
void record_launch(cudaLaunchConfig_t const& config, void const* kernel);

}  // namespace emulation
