#pragma once

#include "backend/backend.h"
#include "backend/cpu/cpu_ops.h"

namespace jreg::backend::cpu {

/// Host memory and this process's OpenMP threads.
class CpuBackend : public Backend {
public:
  /// With the fastest kernels this processor runs.
  CpuBackend();
  /// With these kernels, so that tests reach every instruction set.
  explicit CpuBackend(KernelTable const& kernels);

  char const* name() const override { return "cpu"; }
  std::string description() const override;

  Ops& ops() override { return ops_; }
  std::unique_ptr<Collective> connect(MPI_Comm group) override;

  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory, std::size_t bytes) noexcept override;
  void copy_to_host(void* host, void const* memory, std::size_t bytes) override;
  void copy_from_host(void* memory, void const* host, std::size_t bytes) override;
  void synchronize() override {}
  std::size_t logits_bytes() const override { return std::size_t{8} << 20U; }
  double arithmetic_peak(DType dtype) override;

  std::size_t bytes_in_use() const override { return bytes_in_use_; }
  std::size_t peak_bytes() const override { return peak_bytes_; }

private:
  KernelTable const& kernels_;
  CpuOps ops_;
  std::size_t bytes_in_use_ = 0;
  std::size_t peak_bytes_ = 0;
};

}  // namespace jreg::backend::cpu
