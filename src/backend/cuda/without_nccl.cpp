#include "backend/cuda/nccl.h"
#include "base/error.h"

namespace jreg::backend::cuda {

bool built_with_nccl() noexcept {
  return false;
}

std::string nccl_version() {
  return "none";
}

std::unique_ptr<Collective> connect_nccl(mpi::Communicator const& /*group*/, cudaStream_t /*compute*/,
                                         AbortList& /*abortable*/) {
  throw UserError{"run.collective = nccl: this jreg was built without NCCL; use --run.collective mpi"};
}

}  // namespace jreg::backend::cuda
