#pragma once

#include "backend/cuda/device_collective.h"
#include "backend/cuda/nccl_communicator.h"
#include "backend/cuda/stream.h"

namespace jreg::backend::cuda {

/// Collectives through NCCL between GPUs.
///
/// One communicator serves two streams: calls that the computing waits for run on its stream, those named begin on one
/// of their own, beside it. Calls of one communicator must not overlap, so they are put into the order in which they
/// were made, by events; a second communicator would let a call of the first kind overtake, which nobody here needs,
/// and take its buffers twice.
class NcclCollective : public DeviceCollective {
public:
  NcclCollective(mpi::Communicator const& group, cudaStream_t compute, AbortList& abortable);

  /// The GPU's time between its stream's arrival at a call and the end of it, transfer included, of all calls that are
  /// over by now: what other ranks and links let the computing wait for. (The host does not wait.)
  double waited_seconds() const override { return timer_.seconds(); }

protected:
  void transfer_all_reduce(Tensor const& values, Reduction reduction) override;
  void transfer_reduce_scatter(Tensor const& full, Tensor const& part) override;
  void transfer_all_gather(Tensor const& part, Tensor const& full) override;
  void transfer_broadcast(Tensor const& values, int root) override;
  std::unique_ptr<Pending> start_all_reduce(Tensor const& values) override;
  std::unique_ptr<Pending> start_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) override;
  std::unique_ptr<Pending> start_all_gather(Tensor const& values, std::span<std::int64_t const> counts) override;

private:
  friend class NcclPending;
  using Call = std::function<ncclResult_t(ncclComm_t, cudaStream_t)>;

  /// On the stream of the operations.
  void now(char const* what, Call const& call);
  /// Beside it; `several` calls as one.
  std::unique_ptr<Pending> beside(char const* what, bool several, Call const& call);

  Stream aside_;  // of the calls named begin
  Event event_;
  StreamTimer timer_;
  bool begun_ = false;             // a call was begun aside since the last one on the stream of the operations
  NcclCommunicator communicator_;  // the last member: it ends while its streams are there
};

}  // namespace jreg::backend::cuda
