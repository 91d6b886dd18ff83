#pragma once

#include <nccl.h>

#include <functional>
#include <mutex>
#include <source_location>

#include "backend/cuda/abort_list.h"
#include "mpi/communicator.h"

namespace jreg::backend::cuda {

/// Owns a communicator of NCCL that does not block: calls return at once, and this waits for them with a limit. NCCL
/// itself knows no time limits: ranks whose peer is gone would wait for ever.
class NcclCommunicator : public Abortable {
public:
  /// Collective over `group`, on the current device. Throws SystemError: exit code 75 when other ranks do not come
  /// within `patience` seconds or a link fails, 2 for what NCCL calls wrong use, such as two ranks on one GPU.
  NcclCommunicator(mpi::Communicator const& group, AbortList& list, double patience = default_patience);
  NcclCommunicator(NcclCommunicator const&) = delete;
  NcclCommunicator& operator=(NcclCommunicator const&) = delete;
  /// Waits for what is under way and for the other ranks, within limits; breaks off where something has failed.
  ~NcclCommunicator() override;

  /// Puts call(communicator) into its stream's queue. `what` names it in errors.
  void run(char const* what, std::function<ncclResult_t(ncclComm_t)> const& call,
           std::source_location where = std::source_location::current());
  /// Several calls as one: they are made between ncclGroupStart and ncclGroupEnd.
  void run_group(char const* what, std::function<ncclResult_t(ncclComm_t)> const& calls,
                 std::source_location where = std::source_location::current());
  /// Throws what has gone wrong meanwhile on a link or another rank. Never blocks.
  void check_links(char const* what, std::source_location where = std::source_location::current());

  /// Breaks off what is under way: its kernels end, and every later call throws. Any thread may call it.
  void abort() noexcept override;

private:
  static constexpr double default_patience = 300;  // seconds

  /// Waits until the communicator has done what `result` says it has begun.
  void settle(ncclResult_t result, char const* what, std::source_location where);
  /// The state of the communicator now; `aborted` where there is none any more.
  ncclResult_t state(char const* what, std::source_location where);
  [[noreturn]] void fail(ncclResult_t result, char const* what, std::source_location where);
  bool finalized() noexcept;

  double patience_;
  std::mutex mutex_;  // of communicator_: a watchdog may take it away at any time
  ncclComm_t communicator_ = nullptr;
  bool aborted_ = false;
  bool failed_ = false;
  AbortList::Entry entry_;  // the last member: from here on abort() may come
};

}  // namespace jreg::backend::cuda
