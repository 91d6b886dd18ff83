#include "backend/cpu/cpu_backend.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "backend/cpu/cpu_collective.h"
#include "backend/cpu/host_memory.h"
#include "backend/cpu/peak.h"

namespace jreg::backend::cpu {

namespace {

/// As Linux names it; "CPU" where it does not.
std::string cpu_model() {
  std::ifstream info{"/proc/cpuinfo"};
  for (std::string line; std::getline(info, line);) {
    auto const colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace

CpuBackend::CpuBackend() : CpuBackend{*supported_kernels().back()} {}

CpuBackend::CpuBackend(KernelTable const& kernels) : kernels_{kernels}, ops_{kernels} {}

std::string CpuBackend::description() const {
  dnnl::version_t const& library = *dnnl::version();
  return fmt::format("{}, kernels {}, {} OpenMP thread{}, oneDNN {}.{}.{}", cpu_model(), kernels_.name,
                     omp_get_max_threads(), omp_get_max_threads() == 1 ? "" : "s", library.major, library.minor,
                     library.patch);
}

std::unique_ptr<Collective> CpuBackend::connect(MPI_Comm group) {
  return std::make_unique<CpuCollective>(group);
}

void* CpuBackend::allocate(std::size_t bytes) {
  void* const memory = allocate_host(bytes);
  bytes_in_use_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_in_use_);
  return memory;
}

void CpuBackend::deallocate(void* memory, std::size_t bytes) noexcept {
  free_host(memory);
  bytes_in_use_ -= bytes;
}

void CpuBackend::copy_to_host(void* host, void const* memory, std::size_t bytes) {
  if (bytes != 0) std::memcpy(host, memory, bytes);
}

void CpuBackend::copy_from_host(void* memory, void const* host, std::size_t bytes) {
  if (bytes != 0) std::memcpy(memory, host, bytes);
}

double CpuBackend::arithmetic_peak(DType dtype) {
  return cpu::arithmetic_peak(kernels_, dtype);
}

}  // namespace jreg::backend::cpu
