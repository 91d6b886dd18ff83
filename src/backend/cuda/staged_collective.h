#pragma once

#include <deque>
#include <vector>

#include "backend/cpu/cpu_collective.h"
#include "backend/cuda/device_collective.h"
#include "backend/cuda/pinned.h"
#include "backend/cuda/stream.h"

namespace jreg::backend::cuda {

class StagedPending;

/// Collectives by way of the host: values go to pinned memory, through MPI, and back. Works wherever MPI does, also
/// between ranks that share a GPU.
class StagedCollective : public DeviceCollective {
public:
  /// `group` is duplicated.
  StagedCollective(mpi::Communicator const& group, cudaStream_t compute);
  ~StagedCollective() override;

  /// Time inside MPI, from when the values had arrived on the host: this rank's own computing is not in it.
  double waited_seconds() const override { return host_.waited_seconds(); }

protected:
  void transfer_all_reduce(Tensor const& values, Reduction reduction) override;
  void transfer_reduce_scatter(Tensor const& full, Tensor const& part) override;
  void transfer_all_gather(Tensor const& part, Tensor const& full) override;
  void transfer_broadcast(Tensor const& values, int root) override;
  std::unique_ptr<Pending> start_all_reduce(Tensor const& values) override;
  std::unique_ptr<Pending> start_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) override;
  std::unique_ptr<Pending> start_all_gather(Tensor const& values, std::span<std::int64_t const> counts) override;

private:
  friend class StagedPending;

  /// Pinned memory that is lent out; given back to the collective, which lends it again.
  struct Stage {
    Pinned memory;
    std::size_t bytes = 0;
  };

  Stage borrow(std::int64_t bytes);
  void give_back(Stage stage) { stages_.push_back(std::move(stage)); }
  /// Copies `from` into host memory once the compute stream has come so far.
  void fetch(Tensor const& from, void* host);
  /// Copies host memory to where later operations of the compute stream find it.
  void store(Tensor const& from, Tensor const& to);
  /// MPI takes the calls of a group in one order on all ranks: begins those that were asked for, up to `last` (null:
  /// all), waiting for their values.
  void begin_in_order(StagedPending const* last);
  /// The same as far as values have arrived.
  void begin_arrived();
  /// body(pinned memory of `bytes`, where `from` stands at the beginning), after all calls before.
  template <class Body> void in_stage(Tensor const& from, std::int64_t bytes, Body const& body);

  cpu::CpuCollective host_;
  Stream copies_;  // all copies, so that memory which is lent again is not overwritten too early
  Event event_;
  std::vector<Stage> stages_;           // not lent out
  std::deque<StagedPending*> waiting_;  // asked for, not begun
};

}  // namespace jreg::backend::cuda
