#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "backend/collective.h"
#include "backend/cuda/abort_list.h"
#include "mpi/communicator.h"

// What the backend asks of NCCL, in builds with it and without: nccl_collective.cpp or without_nccl.cpp.
namespace jreg::backend::cuda {

bool built_with_nccl() noexcept;
/// "2.28.9"; "none" in a build without.
std::string nccl_version();

/// Collective over `group`: a communicator of NCCL between its ranks' current devices. Throws SystemError (exit code
/// 75) when the others do not come, UserError in a build without NCCL. `compute`: the stream of the backend's
/// operations.
std::unique_ptr<Collective> connect_nccl(mpi::Communicator const& group, cudaStream_t compute, AbortList& abortable);

}  // namespace jreg::backend::cuda
