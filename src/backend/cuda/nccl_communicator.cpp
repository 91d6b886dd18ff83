#include "backend/cuda/nccl_communicator.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <span>
#include <thread>

#include "base/error.h"

namespace jreg::backend::cuda {
namespace {

using Clock = std::chrono::steady_clock;

/// Time since it was made, and rests that grow: most calls are done at once, a start takes seconds.
class Patience {
public:
  explicit Patience(double seconds) : end_{Clock::now() + std::chrono::duration<double>(seconds)} {}
  bool is_over() const { return Clock::now() > end_; }
  void rest() {
    constexpr int eager = 200;
    if (++rests_ < eager) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds{100});
    }
  }

private:
  std::chrono::time_point<Clock, std::chrono::duration<double>> end_;
  int rests_ = 0;
};

/// What NCCL would not do again either: this program's mistake, or the user's.
ExitCode code_of(ncclResult_t result) {
  switch (result) {
    case ncclInvalidUsage:
      return ExitCode::usage;
    case ncclInvalidArgument:
      return ExitCode::internal;
    default:
      return ExitCode::retry;
  }
}

bool is_failure(ncclResult_t result) {
  return result != ncclSuccess && result != ncclInProgress;
}

/// Collective over `group`: the name under which its ranks find one another.
ncclUniqueId shared_id(mpi::Communicator const& group) {
  ncclUniqueId id{};
  if (group.rank() == 0) {
    ncclResult_t const result = ncclGetUniqueId(&id);
    if (result != ncclSuccess) {
      throw SystemError{fmt::format("NCCL: begin: {}: {}", ncclGetErrorString(result), ncclGetLastError(nullptr)),
                        code_of(result)};
    }
  }
  group.broadcast(std::as_writable_bytes(std::span{id.internal}), 0);
  return id;
}

}  // namespace

NcclCommunicator::NcclCommunicator(mpi::Communicator const& group, AbortList& list, double patience)
    : patience_{patience}, entry_{list, *this} {
  ncclUniqueId const id = shared_id(group);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  auto const here = std::source_location::current();
  char const* const what = "connect the ranks of a group";
  try {
    ncclResult_t result = ncclSuccess;
    {
      std::scoped_lock const lock{mutex_};
      result = ncclCommInitRankConfig(&communicator_, group.size(), id, group.rank(), &config);
    }
    settle(result, what, here);
  } catch (...) {
    abort();
    throw;
  }
}

NcclCommunicator::~NcclCommunicator() {
  bool const orderly = !failed_ && std::uncaught_exceptions() == 0 && finalized();
  std::scoped_lock const lock{mutex_};
  if (communicator_ == nullptr) return;
  if (orderly) {
    ncclCommDestroy(communicator_);
  } else {
    ncclCommAbort(communicator_);
  }
  communicator_ = nullptr;
}

bool NcclCommunicator::finalized() noexcept {
  constexpr double seconds = 30;
  ncclResult_t result = ncclSuccess;
  {
    std::scoped_lock const lock{mutex_};
    if (communicator_ == nullptr) return false;
    result = ncclCommFinalize(communicator_);
  }
  for (Patience patience{seconds}; result == ncclInProgress; patience.rest()) {
    std::scoped_lock const lock{mutex_};
    if (patience.is_over() || communicator_ == nullptr) return false;
    if (ncclResult_t const asked = ncclCommGetAsyncError(communicator_, &result); is_failure(asked)) return false;
  }
  return result == ncclSuccess;
}

void NcclCommunicator::abort() noexcept {
  std::scoped_lock const lock{mutex_};
  aborted_ = true;
  if (communicator_ == nullptr) return;
  ncclCommAbort(communicator_);
  communicator_ = nullptr;
}

void NcclCommunicator::fail(ncclResult_t result, char const* what, std::source_location where) {
  failed_ = true;
  std::string text;
  {
    std::scoped_lock const lock{mutex_};
    if (communicator_ != nullptr) text = ncclGetLastError(communicator_);
  }
  throw SystemError{fmt::format("NCCL: {}: {}{}{}", what, ncclGetErrorString(result), text.empty() ? "" : ": ", text),
                    code_of(result), where};
}

ncclResult_t NcclCommunicator::state(char const* what, std::source_location where) {
  std::scoped_lock const lock{mutex_};
  if (aborted_ || communicator_ == nullptr) {
    failed_ = true;
    throw SystemError{fmt::format("NCCL: {}: broken off, because this rank did not move on", what), ExitCode::retry,
                      where};
  }
  ncclResult_t now = ncclSuccess;
  ncclResult_t const asked = ncclCommGetAsyncError(communicator_, &now);
  return is_failure(asked) ? asked : now;
}

void NcclCommunicator::settle(ncclResult_t result, char const* what, std::source_location where) {
  for (Patience patience{patience_}; result == ncclInProgress; result = state(what, where)) {
    if (patience.is_over()) {
      failed_ = true;
      throw SystemError{fmt::format("NCCL: {}: the other ranks did not come within {:.0f} s", what, patience_),
                        ExitCode::retry, where};
    }
    patience.rest();
  }
  if (result != ncclSuccess) fail(result, what, where);
}

void NcclCommunicator::run(char const* what, std::function<ncclResult_t(ncclComm_t)> const& call,
                           std::source_location where) {
  check_links(what, where);
  ncclResult_t result = ncclInProgress;
  {
    std::scoped_lock const lock{mutex_};
    if (communicator_ != nullptr) result = call(communicator_);
  }
  settle(result, what, where);
}

void NcclCommunicator::run_group(char const* what, std::function<ncclResult_t(ncclComm_t)> const& calls,
                                 std::source_location where) {
  run(
      what,
      [&](ncclComm_t communicator) {
        ncclResult_t const begun = ncclGroupStart();
        if (is_failure(begun)) return begun;
        ncclResult_t const called = calls(communicator);
        ncclResult_t const ended = ncclGroupEnd();
        return is_failure(called) ? called : ended;
      },
      where);
}

void NcclCommunicator::check_links(char const* what, std::source_location where) {
  if (ncclResult_t const now = state(what, where); is_failure(now)) fail(now, what, where);
}

}  // namespace jreg::backend::cuda
