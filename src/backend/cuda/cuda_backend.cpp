#include "backend/cuda/cuda_backend.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/kernels/peak.h"
#include "backend/cuda/nccl.h"
#include "backend/cuda/staged_collective.h"

namespace jreg::backend::cuda {
namespace {

constexpr std::size_t product_workspace_bytes = std::size_t{32} << 20U;

}  // namespace

void require_exchange(Exchange exchange) {
  if (exchange == Exchange::mpi || built_with_nccl()) return;
  throw UserError{
      "run.collective = nccl: this jreg was built without NCCL; build it with cmake --preset cuda-release "
      "-DJREG_WITH_NCCL=ON, or use --run.collective mpi"};
}

CudaBackend::CudaBackend(int node_local_rank, Exchange exchange)
    : device_{choose_device(node_local_rank)},
      exchange_{exchange},
      stream_{make_stream()},
      workspace_{std::make_unique<Workspace>([this](std::size_t bytes) { return allocate(bytes); },
                                             [this](void* memory, std::size_t bytes) { deallocate(memory, bytes); })},
      product_workspace_{*this, product_workspace_bytes},
      products_{std::make_unique<MatrixProducts>(product_workspace_.data(), product_workspace_bytes)} {
  require_exchange(exchange);
  context_.stream = stream_.get();
  context_.workspace = workspace_.get();
  context_.multiprocessors = device_.multiprocessors;
  context_.shared_per_block = device_.shared_per_block;
  ops_ = std::make_unique<CudaOps>(context_, *products_);
}

CudaBackend::~CudaBackend() = default;

std::string CudaBackend::description() const {
  return exchange_ == Exchange::nccl ? describe(device_) + ", NCCL " + nccl_version() : describe(device_) + ", MPI";
}

std::string CudaBackend::exclusive_device() const {
  return exchange_ == Exchange::nccl ? device_.uuid : std::string{};
}

std::vector<LibraryVersion> CudaBackend::library_versions() const {
  std::vector<LibraryVersion> versions{{"the CUDA driver", driver_version()}};
  if (exchange_ == Exchange::nccl) versions.push_back({"NCCL", nccl_version()});
  return versions;
}

std::unique_ptr<Collective> CudaBackend::connect(MPI_Comm group) {
  auto const ranks = mpi::Communicator::duplicate(group);
  if (exchange_ == Exchange::nccl && ranks.size() > 1) return connect_nccl(ranks, stream_.get(), exchanges_);
  return std::make_unique<StagedCollective>(ranks, stream_.get());  // alone there is nothing to transfer
}

void* CudaBackend::allocate(std::size_t bytes) {
  void* memory = nullptr;
  cudaError_t const status = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the next launch would report it again
    throw OutOfMemory{out_of_memory_text(device_, bytes, bytes_in_use_)};
  }
  check(status, "allocate memory");
  bytes_in_use_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_in_use_);
  return memory;
}

void CudaBackend::deallocate(void* memory, std::size_t bytes) noexcept {
  cudaFree(memory);
  bytes_in_use_ -= bytes;
}

void CudaBackend::copy_to_host(void* host, void const* memory, std::size_t bytes) {
  ring_.to_host(host, memory, bytes, stream_.get());
}

void CudaBackend::copy_from_host(void* memory, void const* host, std::size_t bytes) {
  ring_.to_device(memory, host, bytes, stream_.get());
}

void CudaBackend::synchronize() {
  check(cudaStreamSynchronize(stream_.get()), "wait for the GPU");
}

double CudaBackend::arithmetic_peak(DType dtype) {
  constexpr int repeats = 5;
  constexpr double enough = 0.5e-3;  // seconds of one measurement
  constexpr int most_rounds = 8192;  // some milliseconds
  Buffer const result{*this, sizeof(float)};
  Event const begin = make_timing_event();
  Event const end = make_timing_event();
  double seconds = 0;
  auto const rate_of = [&](int rounds) {
    check(cudaEventRecord(begin.get(), stream_.get()), "record an event");
    double const operations = peak_arithmetic(context_, dtype, rounds, static_cast<float*>(result.data()));
    check(cudaEventRecord(end.get(), stream_.get()), "record an event");
    synchronize();
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "take the time between events");
    seconds = static_cast<double>(milliseconds) / 1e3;
    return seconds > 0 ? operations / seconds : 0;
  };
  int rounds = most_rounds / 512;
  double best = rate_of(rounds);
  while (seconds < enough && rounds < most_rounds) best = rate_of(rounds *= 8);
  for (int i = 1; i < repeats; ++i) best = std::max(best, rate_of(rounds));
  return best;
}

std::size_t CudaBackend::logits_bytes() const {
  // A product keeps a multiprocessor busy with some tiles of 128 x 128 fp32; beyond that half of the L2 cache, so that
  // what is passed over several times stays there.
  constexpr std::size_t tile_bytes = std::size_t{128} * 128 * 4;
  constexpr std::size_t tiles = 4;
  return std::max(static_cast<std::size_t>(device_.multiprocessors) * tiles * tile_bytes, device_.l2_cache / 2);
}

}  // namespace jreg::backend::cuda
