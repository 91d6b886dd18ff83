#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/stream.h"

namespace jreg::backend::cuda {

/// One GPU: its memory, and a stream that all operations are in order on.
class CudaBackend : public Backend {
public:
  /// The GPU of this rank, by its place among the ranks of its node. Throws UserError where there is none.
  explicit CudaBackend(int node_local_rank);
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
  std::size_t logits_bytes() const override { return std::size_t{32} << 20U; }
  std::string exclusive_device() const override;

  void begin_range(char const* name) override;
  void end_range() noexcept override;
  void record_profile(bool on) override;

  std::size_t bytes_in_use() const override { return bytes_in_use_; }
  std::size_t peak_bytes() const override { return peak_bytes_; }

private:
  int device_;
  std::size_t bytes_in_use_ = 0;
  std::size_t peak_bytes_ = 0;
  Stream stream_;
  std::unique_ptr<Workspace> workspace_;
  Buffer product_workspace_;
  Context context_;
  std::unique_ptr<MatrixProducts> products_;
  std::unique_ptr<CudaOps> ops_;
};

}  // namespace jreg::backend::cuda
