#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"

namespace jreg::backend {

void require_backend(std::string const& name) {
  if (name == "cpu") return;
  if (name == "cuda") {
    throw UserError{"run.backend = cuda: this version of jreg has no CUDA backend yet; use --backend cpu"};
  }
  throw UserError{"run.backend = {}: there is no such backend; use cpu or cuda", name};
}

std::unique_ptr<Backend> make_backend(std::string const& name, [[maybe_unused]] int node_local_rank) {
  require_backend(name);
  return std::make_unique<cpu::CpuBackend>();
}

}  // namespace jreg::backend
