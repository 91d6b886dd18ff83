#pragma once

#include <cuda_runtime_api.h>

#include <source_location>

namespace jreg::backend::cuda {

/// Throws what a failed call of the CUDA runtime means: a GPU or a driver that failed (exit code 75) or a mistake of
/// this program (70). `what` names what was attempted.
void check(cudaError_t status, char const* what, std::source_location where = std::source_location::current());

}  // namespace jreg::backend::cuda
