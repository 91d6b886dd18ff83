#include "backend/cuda/device.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "base/error.h"

namespace jreg::backend::cuda {
namespace {

/// 13000 -> "13.0"
std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int driver_number() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

std::string uuid_text(cudaUUID_t const& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned>(static_cast<unsigned char>(uuid.bytes[i])));
  }
  return text;
}

int count_devices() {
  int count = 0;
  cudaError_t const status = cudaGetDeviceCount(&count);
  int const driver = driver_number();
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    throw UserError{
        "run.backend = cuda: this host has a driver but no GPU that this process may use; look at nvidia-smi and "
        "CUDA_VISIBLE_DEVICES, ask the batch system for GPUs, or use --backend cpu"};
  }
  if (driver == 0) {
    throw UserError{
        "run.backend = cuda: this host has no NVIDIA driver ({}); run on a host with a GPU, or use --backend cpu",
        cudaGetErrorString(status)};
  }
  if (status == cudaErrorInsufficientDriver || driver / 1000 < CUDART_VERSION / 1000) {
    throw UserError{
        "run.backend = cuda: the driver is made for CUDA {} and this jreg for CUDA {}; update the driver, build jreg "
        "with a toolkit as old as it, or use --backend cpu",
        cuda_version_text(driver), cuda_version_text(CUDART_VERSION)};
  }
  check(status, "count the GPUs");
  return count;
}

}  // namespace

Device choose_device(int node_local_rank) {
  constexpr int least_major = 8;  // mma and cp.async of bf16
  int const index = node_local_rank % count_devices();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "ask the GPU");
  if (properties.major < least_major) {
    throw UserError{
        "run.backend = cuda: GPU {} ({}) has compute capability {}.{}, and jreg needs 8.0 (Ampere) at least; take "
        "another GPU, or use --backend cpu",
        index, properties.name, properties.major, properties.minor};
  }
  check(cudaSetDevice(index), "choose the GPU");
  return {.index = index,
          .name = properties.name,
          .uuid = uuid_text(properties.uuid),
          .major = properties.major,
          .minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .shared_per_block = properties.sharedMemPerBlockOptin,
          .memory = properties.totalGlobalMem,
          .l2_cache = static_cast<std::size_t>(properties.l2CacheSize)};
}

std::string describe(Device const& device) {
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "ask the CUDA runtime");
  std::size_t const products = cublasLtGetVersion();
  return fmt::format("{} (compute capability {}.{}, {:.1f} GB), driver for CUDA {}, runtime {}, cuBLASLt {}.{}.{}",
                     device.name, device.major, device.minor, static_cast<double>(device.memory) / 1e9,
                     driver_version(), cuda_version_text(runtime), products / 10000, products / 100 % 100,
                     products % 100);
}

std::string driver_version() {
  int const driver = driver_number();
  return driver == 0 ? "none" : cuda_version_text(driver);
}

std::string out_of_memory_text(Device const& device, std::size_t bytes, std::size_t bytes_in_use) {
  std::size_t free = 0;
  std::size_t total = device.memory;
  cudaMemGetInfo(&free, &total);
  auto const gigabytes = [](std::size_t value) { return static_cast<double>(value) / 1e9; };
  std::size_t const others = total - std::min(total, free + bytes_in_use);
  return fmt::format(
      "GPU {} ({}) has no {:.3f} GB left: {:.3f} GB are in use by this rank, {:.3f} GB by CUDA and other processes, "
      "{:.3f} GB are free of {:.3f} GB; lower train.micro_batch, set train.recompute = block or mesh.zero1 = true, or "
      "raise mesh.tensor",
      device.index, device.name, gigabytes(bytes), gigabytes(bytes_in_use), gigabytes(others), gigabytes(free),
      gigabytes(total));
}

}  // namespace jreg::backend::cuda
