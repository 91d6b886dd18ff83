#pragma once

#include "backend/collective.h"
#include "backend/cpu/mpi_types.h"
#include "mpi/communicator.h"

namespace jreg::backend::cpu {

/// Collectives through MPI on host memory. Calls over more than `largest_call` elements are cut into several, because
/// MPI counts in int.
class CpuCollective : public Collective {
public:
  static constexpr std::int64_t default_largest_call = std::int64_t{1} << 30;

  explicit CpuCollective(MPI_Comm group, std::int64_t largest_call = default_largest_call);

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }

  void all_reduce(Tensor const& values, Reduction reduction) override;
  void reduce_scatter(Tensor const& full, Tensor const& part) override;
  void all_gather(Tensor const& part, Tensor const& full) override;
  void broadcast(Tensor const& values, int root) override;

  std::unique_ptr<Pending> begin_all_reduce(Tensor const& values) override;
  std::unique_ptr<Pending> begin_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) override;
  std::unique_ptr<Pending> begin_all_gather(Tensor const& values, std::span<std::int64_t const> counts) override;

  double waited_seconds() const override { return waited_seconds_; }

private:
  /// Calls body(first element, count) for pieces of at most largest_call_ elements.
  template <class Body> void in_pieces(std::int64_t elements, Body const& body) const;

  mpi::Communicator group_;
  MpiTypes types_;
  std::int64_t largest_call_;
  double waited_seconds_ = 0;
};

}  // namespace jreg::backend::cpu
