#include "backend/cuda/check.h"

#include <fmt/format.h>

#include "base/error.h"

namespace jreg::backend::cuda {
namespace {

/// What this program did wrong itself; starting again would not help.
bool is_bug(cudaError_t status) {
  switch (status) {
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorAssert:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t status, char const* what, std::source_location where) {
  if (status == cudaSuccess) return;
  throw SystemError{fmt::format("CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status)),
                    is_bug(status) ? ExitCode::internal : ExitCode::retry, where};
}

}  // namespace jreg::backend::cuda
