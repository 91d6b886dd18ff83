#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/cuda/abort_list.h"
#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/device.h"
#include "backend/cuda/pinned.h"
#include "backend/cuda/stream.h"

namespace jreg::backend::cuda {

/// How ranks exchange what is on their GPUs.
enum class Exchange {
  nccl,  // from GPU to GPU; every rank has one of its own
  mpi    // through the hosts' memory; ranks may share a GPU
};

/// Throws UserError when this build cannot exchange that way, saying what to do.
void require_exchange(Exchange exchange);

/// One GPU: its memory, and a stream that all operations are in order on.
class CudaBackend : public Backend {
public:
  /// The GPU of this rank, by its place among the ranks of its node. Throws UserError where there is none that will do.
  CudaBackend(int node_local_rank, Exchange exchange);
  ~CudaBackend() override;

  char const* name() const override { return "cuda"; }
  std::string description() const override;

  Ops& ops() override { return *ops_; }
  std::unique_ptr<Collective> connect(MPI_Comm group) override;

  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory, std::size_t bytes) noexcept override;
  void copy_to_host(void* host, void const* memory, std::size_t bytes) override;
  void copy_from_host(void* memory, void const* host, std::size_t bytes) override;
  void synchronize() override;

  /// On GPUs of compute capability 9.0 bf16 is what mma.sync reaches; the wgmma of cuBLASLt's products does more.
  double arithmetic_peak(DType dtype) override;
  std::size_t logits_bytes() const override;
  std::string exclusive_device() const override;
  std::vector<LibraryVersion> library_versions() const override;
  void abandon() noexcept override { exchanges_.abort_all(); }

  void begin_range(char const* name) override;
  void end_range() noexcept override;
  void record_profile(bool on) override;

  std::size_t bytes_in_use() const override { return bytes_in_use_; }
  std::size_t peak_bytes() const override { return peak_bytes_; }

private:
  Device device_;
  Exchange exchange_;
  std::size_t bytes_in_use_ = 0;
  std::size_t peak_bytes_ = 0;
  AbortList exchanges_;  // those that may hang
  Stream stream_;
  PinnedRing ring_;
  std::unique_ptr<Workspace> workspace_;
  Buffer product_workspace_;
  Context context_;
  std::unique_ptr<MatrixProducts> products_;
  std::unique_ptr<CudaOps> ops_;
};

}  // namespace jreg::backend::cuda
