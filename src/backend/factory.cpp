#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"

namespace jreg::backend {

std::unique_ptr<Backend> make_backend(std::string const& name, [[maybe_unused]] int node_local_rank) {
  if (name == "cpu") return std::make_unique<cpu::CpuBackend>();
  if (name == "cuda") {
    throw UserError{
        "run.backend = cuda: this build has no CUDA backend; configure with --preset cuda-release "
        "(-DJREG_WITH_CUDA=ON) or use --backend cpu"};
  }
  throw UserError{"run.backend = {}: there is no such backend; use cpu or cuda", name};
}

}  // namespace jreg::backend
