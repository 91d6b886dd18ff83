#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#if JREG_WITH_CUDA
#include "backend/cuda/cuda_backend.h"
#endif

namespace jreg::backend {
namespace {

#if JREG_WITH_CUDA
constexpr bool has_cuda = true;
std::unique_ptr<Backend> make_cuda_backend(int node_local_rank) {
  return std::make_unique<cuda::CudaBackend>(node_local_rank);
}
#else
constexpr bool has_cuda = false;
std::unique_ptr<Backend> make_cuda_backend(int /*node_local_rank*/) {
  return nullptr;
}
#endif

}  // namespace

bool has_backend(std::string const& name) {
  return name == "cpu" || (name == "cuda" && has_cuda);
}

void require_backend(std::string const& name) {
  if (has_backend(name)) return;
  if (name == "cuda") {
    throw UserError{
        "run.backend = cuda: this jreg was built without CUDA; build it with cmake --preset cuda-release, or use "
        "--backend cpu"};
  }
  throw UserError{"run.backend = {}: there is no such backend; use cpu or cuda", name};
}

std::unique_ptr<Backend> make_backend(std::string const& name, int node_local_rank) {
  require_backend(name);
  if (name == "cuda") return make_cuda_backend(node_local_rank);
  return std::make_unique<cpu::CpuBackend>();
}

}  // namespace jreg::backend
