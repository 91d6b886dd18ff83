#include "backend/cuda/device_collective.h"

#include "backend/argument_checks.h"
#include "backend/cuda/check.h"

namespace jreg::backend::cuda {
namespace {

/// Nothing was begun: one rank alone, or nothing to transfer.
class Done : public Pending {
public:
  bool progress() override { return true; }
  void finish() override {}
};

void copy(Tensor const& from, Tensor const& to, cudaStream_t stream) {
  if (from.data == to.data || from.size() == 0) return;
  check(cudaMemcpyAsync(to.data, from.data, static_cast<std::size_t>(from.bytes()), cudaMemcpyDeviceToDevice, stream),
        "copy on the GPU");
}

}  // namespace

void DeviceCollective::all_reduce(Tensor const& values, Reduction reduction) {
  check_collective(values);
  if (size_ == 1) return;
  traffic_[CollectiveKind::all_reduce] += all_reduce_traffic(values.bytes(), size_);
  if (values.size() != 0) transfer_all_reduce(values, reduction);
}

void DeviceCollective::reduce_scatter(Tensor const& full, Tensor const& part) {
  check_collective_parts(full, part, size_);
  if (size_ == 1) return copy(full, part, compute_);
  traffic_[CollectiveKind::reduce_scatter] += reduce_scatter_traffic(full.bytes(), part.bytes());
  if (full.size() != 0) transfer_reduce_scatter(full, part);
}

void DeviceCollective::all_gather(Tensor const& part, Tensor const& full) {
  check_collective_parts(full, part, size_);
  if (size_ == 1) return copy(part, full, compute_);
  traffic_[CollectiveKind::all_gather] += all_gather_traffic(full.bytes(), part.bytes(), part.bytes());
  if (full.size() != 0) transfer_all_gather(part, full);
}

void DeviceCollective::broadcast(Tensor const& values, int root) {
  check_collective(values);
  if (size_ == 1) return;
  traffic_[CollectiveKind::broadcast] += broadcast_traffic(values.bytes(), rank_, root, size_);
  if (values.size() != 0) transfer_broadcast(values, root);
}

std::unique_ptr<Pending> DeviceCollective::begin_all_reduce(Tensor const& values) {
  check_collective(values);
  if (size_ == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::all_reduce] += all_reduce_traffic(values.bytes(), size_);
  if (values.size() == 0) return std::make_unique<Done>();
  return start_all_reduce(values);
}

std::unique_ptr<Pending> DeviceCollective::begin_reduce_scatter(Tensor const& values,
                                                                std::span<std::int64_t const> counts) {
  check_collective_counts(values, counts, size_);
  if (size_ == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::reduce_scatter] += reduce_scatter_traffic(values, counts, rank_);
  if (values.size() == 0) return std::make_unique<Done>();
  return start_reduce_scatter(values, counts);
}

std::unique_ptr<Pending> DeviceCollective::begin_all_gather(Tensor const& values,
                                                            std::span<std::int64_t const> counts) {
  check_collective_counts(values, counts, size_);
  if (size_ == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::all_gather] += all_gather_traffic(values, counts, rank_);
  if (values.size() == 0) return std::make_unique<Done>();
  return start_all_gather(values, counts);
}

}  // namespace jreg::backend::cuda
