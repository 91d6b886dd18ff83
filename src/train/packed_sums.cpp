#include "train/packed_sums.h"

#include <array>

namespace jreg::train {

PackedSums::PackedSums(backend::Backend& backend, mesh::Mesh const& mesh, std::int64_t layers)
    : backend_{backend}, mesh_{mesh} {
  std::int64_t const angular = (layers + 1) * backend::angular_sums;
  std::int64_t const ranks = mesh.at().data_size;
  arena_ = backend::Arena{backend,
                          [&](backend::Placer& placer) { whole_ = placer.tensor(DType::f64, 1, angular + ranks + 2); }};
  angular_ = whole_.column_range(0, angular).reshaped(layers + 1, backend::angular_sums);
  losses_ = whole_.column_range(angular, angular + ranks);
  loss_ = losses_.column_range(mesh.at().data, mesh.at().data + 1);
  flags_ = whole_.column_range(angular + ranks, angular + ranks + 2);
  host_.resize(static_cast<std::size_t>(whole_.columns));
}

void PackedSums::clear(bool flag, bool busy) {
  backend_.ops().zero(whole_);
  std::array<double, 2> const values{flag ? 1.0 : 0.0, busy ? 1.0 : 0.0};
  backend_.copy_from_host(flags_.data, values.data(), sizeof values);
}

void PackedSums::begin() {
  // Every token counts once: tensor ranks hold the same losses, and the same hidden states unless they split tokens.
  if (mesh_.at().tensor != 0) {
    backend_.ops().zero(losses_);
    if (!mesh_.sequence_parallel()) backend_.ops().zero(angular_);
  }
  under_way_ = mesh_.all().begin_all_reduce(whole_);
}

void PackedSums::progress() {
  if (under_way_) under_way_->progress();
}

void PackedSums::finish() {
  under_way_->finish();
  under_way_.reset();
  backend_.copy_to_host(host_.data(), whole_.data, static_cast<std::size_t>(whole_.bytes()));
}

std::span<double const> PackedSums::angular_sums() const {
  return std::span{host_}.first(static_cast<std::size_t>(angular_.size()));
}

double PackedSums::loss_of(int rank) const {
  return host_[static_cast<std::size_t>(angular_.size()) + static_cast<std::size_t>(rank)];
}

double PackedSums::loss_sum() const {
  double sum = 0;
  for (int rank = 0; rank < mesh_.at().data_size; ++rank) sum += loss_of(rank);
  return sum;
}

bool PackedSums::flagged() const {
  return host_[host_.size() - 2] > 0;
}

bool PackedSums::busy() const {
  return host_.back() > 0;
}

}  // namespace jreg::train
