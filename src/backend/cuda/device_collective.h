#pragma once

#include <cuda_runtime_api.h>

#include "backend/collective.h"

namespace jreg::backend::cuda {

/// What all collectives on a GPU's memory have in common: checks of shapes, groups of one rank, empty tensors, and the
/// count of traffic. Implementations only transfer, and only between several ranks.
class DeviceCollective : public Collective {
public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }

  void all_reduce(Tensor const& values, Reduction reduction) final;
  void reduce_scatter(Tensor const& full, Tensor const& part) final;
  void all_gather(Tensor const& part, Tensor const& full) final;
  void broadcast(Tensor const& values, int root) final;

  std::unique_ptr<Pending> begin_all_reduce(Tensor const& values) final;
  std::unique_ptr<Pending> begin_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) final;
  std::unique_ptr<Pending> begin_all_gather(Tensor const& values, std::span<std::int64_t const> counts) final;

protected:
  /// `compute` is the stream of the backend's operations.
  DeviceCollective(cudaStream_t compute, int rank, int size) : compute_{compute}, rank_{rank}, size_{size} {}

  // The same between several ranks, of tensors that are not empty and have the right shapes.
  virtual void transfer_all_reduce(Tensor const& values, Reduction reduction) = 0;
  virtual void transfer_reduce_scatter(Tensor const& full, Tensor const& part) = 0;
  virtual void transfer_all_gather(Tensor const& part, Tensor const& full) = 0;
  virtual void transfer_broadcast(Tensor const& values, int root) = 0;
  virtual std::unique_ptr<Pending> start_all_reduce(Tensor const& values) = 0;
  virtual std::unique_ptr<Pending> start_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) = 0;
  virtual std::unique_ptr<Pending> start_all_gather(Tensor const& values, std::span<std::int64_t const> counts) = 0;

  cudaStream_t compute() const noexcept { return compute_; }

private:
  cudaStream_t compute_;
  int rank_;
  int size_;
};

/// The address of an element of a contiguous tensor.
inline void* element_of(Tensor const& values, std::int64_t index) {
  return static_cast<char*>(values.data) + index * static_cast<std::int64_t>(size_of(values.dtype));
}

}  // namespace jreg::backend::cuda
