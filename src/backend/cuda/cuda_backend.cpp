#include "backend/cuda/cuda_backend.h"

#include <algorithm>

#include "backend/cuda/check.h"

namespace jreg::backend::cuda {
namespace {

constexpr std::size_t product_workspace_bytes = std::size_t{32} << 20U;

int choose_device(int node_local_rank) {
  int count = 0;
  cudaError_t const status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw UserError{"run.backend = cuda: no GPU here ({}); use --backend cpu", cudaGetErrorString(status)};
  }
  int const device = node_local_rank % count;
  check(cudaSetDevice(device), "choose the GPU");
  return device;
}

}  // namespace

CudaBackend::CudaBackend(int node_local_rank)
    : device_{choose_device(node_local_rank)},
      stream_{make_stream()},
      workspace_{std::make_unique<Workspace>([this](std::size_t bytes) { return allocate(bytes); },
                                             [this](void* memory, std::size_t bytes) { deallocate(memory, bytes); })},
      product_workspace_{*this, product_workspace_bytes},
      products_{std::make_unique<MatrixProducts>(product_workspace_.data(), product_workspace_bytes)} {
  context_.stream = stream_.get();
  context_.workspace = workspace_.get();
  check(cudaDeviceGetAttribute(&context_.multiprocessors, cudaDevAttrMultiProcessorCount, device_), "ask the GPU");
  ops_ = std::make_unique<CudaOps>(context_, *products_);
}

CudaBackend::~CudaBackend() = default;

std::string CudaBackend::description() const {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device_), "ask the GPU");
  return properties.name;
}

std::string CudaBackend::exclusive_device() const {
  return {};
}

std::unique_ptr<Collective> CudaBackend::connect(MPI_Comm) {
  throw UserError{"run.backend = cuda: there are no collectives yet"};
}

void* CudaBackend::allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)), "allocate memory");
  bytes_in_use_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_in_use_);
  return memory;
}

void CudaBackend::deallocate(void* memory, std::size_t bytes) noexcept {
  cudaFree(memory);
  bytes_in_use_ -= bytes;
}

void CudaBackend::copy_to_host(void* host, void const* memory, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(host, memory, bytes, cudaMemcpyDeviceToHost, stream_.get()), "copy to the host");
  synchronize();
}

void CudaBackend::copy_from_host(void* memory, void const* host, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(memory, host, bytes, cudaMemcpyHostToDevice, stream_.get()), "copy from the host");
  synchronize();
}

void CudaBackend::synchronize() {
  check(cudaStreamSynchronize(stream_.get()), "wait for the GPU");
}

}  // namespace jreg::backend::cuda
