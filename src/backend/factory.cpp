#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#if JREG_WITH_CUDA
#include "backend/cuda/cuda_backend.h"
#endif

namespace jreg::backend {
namespace {

#if JREG_WITH_CUDA
constexpr bool has_cuda = true;
cuda::Exchange exchange_of(std::string const& collective) {
  if (collective == "nccl") return cuda::Exchange::nccl;
  if (collective == "mpi") return cuda::Exchange::mpi;
  throw UserError{"run.collective = {}: use nccl or mpi", collective};
}
void require_cuda_exchange(std::string const& collective) {
  cuda::require_exchange(exchange_of(collective));
}
std::unique_ptr<Backend> make_cuda_backend(int node_local_rank, std::string const& collective) {
  return std::make_unique<cuda::CudaBackend>(node_local_rank, exchange_of(collective));
}
#else
constexpr bool has_cuda = false;
void require_cuda_exchange(std::string const& /*collective*/) {}
std::unique_ptr<Backend> make_cuda_backend(int /*node_local_rank*/, std::string const& /*collective*/) {
  return nullptr;
}
#endif

}  // namespace

bool has_backend(std::string const& name) {
  return name == "cpu" || (name == "cuda" && has_cuda);
}

void require_backend(std::string const& name, std::string const& collective) {
  if (name == "cuda" && has_cuda) return require_cuda_exchange(collective);
  if (has_backend(name)) return;
  if (name == "cuda") {
    throw UserError{
        "run.backend = cuda: this jreg was built without CUDA; build it with cmake --preset cuda-release, or use "
        "--backend cpu"};
  }
  throw UserError{"run.backend = {}: there is no such backend; use cpu or cuda", name};
}

std::unique_ptr<Backend> make_backend(std::string const& name, int node_local_rank, std::string const& collective) {
  require_backend(name, collective);
  if (name == "cuda") return make_cuda_backend(node_local_rank, collective);
  return std::make_unique<cpu::CpuBackend>();
}

}  // namespace jreg::backend
