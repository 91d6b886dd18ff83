// The calls of NCCL that the backend makes, on the software device: the ranks are processes of one host and exchange
// through POSIX shared memory. Communicators do not block: what a call began is in the stream's queue only after
// somebody has asked for the communicator's state, as with the library. Calls of one communicator that overlap, or that
// differ between ranks, end the process.
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device_memory.h"
#include "emulation/block.h"
#include "emulation/stream.h"
#include "nccl_transfer.h"

struct ncclComm {
  std::shared_ptr<emulation::State> state = std::make_shared<emulation::State>();
  std::string name;
  std::string error;
  bool connected = false;
  bool just_called = false;  // the first question for the state finds the call still in progress
  std::vector<emulation::Call> begun;
  ncclResult_t result = ncclSuccess;
};

namespace emulation {
namespace {

struct Group {
  int depth = 0;
  ncclComm_t communicator = nullptr;
  std::vector<Step> steps;
  cudaStream_t stream = nullptr;
};
Group& group() {
  static Group one;
  return one;
}

ncclResult_t begin(ncclComm_t communicator, cudaStream_t stream, std::vector<Step> steps) {
  if (!communicator->connected) kernel_error("a call of a communicator that is not connected yet");
  if (communicator->result != ncclSuccess) return communicator->result;
  for (Step const& step : steps) {
    for (void const* const memory : {step.from, static_cast<void const*>(step.to)}) {
      if (place_of(memory) != Place::device) kernel_error("NCCL gets memory that is not the device's");
    }
  }
  if (group().depth > 0) {
    if (group().communicator != nullptr && group().communicator != communicator) {
      kernel_error("NCCL of the software device takes calls of one communicator in a group");
    }
    group().communicator = communicator;
    group().stream = stream;
    std::ranges::move(steps, std::back_inserter(group().steps));
    return ncclInProgress;
  }
  if (!communicator->begun.empty()) kernel_error("a call while the one before is still being begun");
  communicator->begun.push_back({stream, std::move(steps)});
  communicator->just_called = true;
  return ncclInProgress;
}

void connect(ncclComm_t communicator) {
  State const& state = *communicator->state;
  if (communicator->connected || state.board->attached.load() < state.ranks) return;
  communicator->connected = true;
  for (int a = 0; a < state.ranks; ++a) {
    for (int b = a + 1; b < state.ranks; ++b) {
      if (state.board->device[a] != state.board->device[b]) continue;
      communicator->result = ncclInvalidUsage;
      communicator->error = "Duplicate GPU detected : rank " + std::to_string(a) + " and rank " + std::to_string(b) +
                            " both on CUDA device " + std::to_string(state.board->device[a] - 1);
    }
  }
  if (state.rank == 0) shm_unlink(communicator->name.c_str());
}

}  // namespace
}  // namespace emulation

using namespace emulation;

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
char const* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInvalidUsage:
      return "invalid usage (of the software device)";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "operation in progress";
    default:
      return "an error of the software device";
  }
}
char const* ncclGetLastError(ncclComm_t communicator) {
  return communicator == nullptr ? "" : communicator->error.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int number = 0;
  std::snprintf(id->internal, sizeof(id->internal), "/jreg-emulated-nccl-%d-%d", static_cast<int>(getpid()), number++);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config == nullptr || config->magic != 0xcafebeefU || config->blocking != 0) {
    kernel_error("the software device has communicators that do not block alone");
  }
  if (ranks < 1 || ranks > most_ranks || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  auto made = std::make_unique<ncclComm>();
  State& state = *made->state;
  made->name = id.internal;
  state.rank = rank;
  state.ranks = ranks;
  state.mapped = sizeof(Board) + static_cast<std::size_t>(ranks) * slot_bytes;
  int const file = shm_open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(state.mapped)) != 0) return ncclSystemError;
  void* const memory = mmap(nullptr, state.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  state.board = static_cast<Board*>(memory);
  int device = 0;
  cudaGetDevice(&device);
  state.board->device[rank] = 1 + device;
  ++state.board->attached;
  *communicator = made.release();
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* result) {
  connect(communicator);
  if (communicator->state->board->failed != 0 && communicator->result == ncclSuccess) {
    communicator->result = ncclRemoteError;
    communicator->error = "another rank broke off";
  }
  *result = communicator->result;
  if (communicator->result != ncclSuccess) return ncclSuccess;
  if (!communicator->connected || std::exchange(communicator->just_called, false)) {
    *result = ncclInProgress;
    return ncclSuccess;
  }
  for (Call& call : communicator->begun) {
    auto const transfer = std::make_shared<Transfer>(communicator->state, std::move(call.steps));
    enqueue(call.stream, [transfer] { return (*transfer)(); });
  }
  communicator->begun.clear();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
  communicator->just_called = true;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  delete communicator;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  communicator->state->aborted = true;
  communicator->state->board->failed = 1;
  if (!communicator->connected) shm_unlink(communicator->name.c_str());
  return ncclCommDestroy(communicator);
}

ncclResult_t ncclGroupStart() {
  ++group().depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group().depth == 0) return ncclInvalidUsage;
  if (--group().depth > 0 || group().communicator == nullptr) return ncclSuccess;
  Group const whole = std::exchange(group(), {});
  return begin(whole.communicator, whole.stream, whole.steps);
}

ncclResult_t ncclAllReduce(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t communicator, cudaStream_t stream) {
  return begin(communicator, stream, {{true, from, to, count, type, op, 0, -1}});
}
ncclResult_t ncclReduce(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t communicator, cudaStream_t stream) {
  return begin(communicator, stream, {{true, from, to, count, type, op, 0, root}});
}
ncclResult_t ncclBroadcast(void const* from, void* to, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t communicator, cudaStream_t stream) {
  return begin(communicator, stream, {{false, from, to, count, type, ncclSum, root, -1}});
}
ncclResult_t ncclReduceScatter(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t communicator, cudaStream_t stream) {
  std::vector<Step> steps;
  for (int rank = 0; rank < communicator->state->ranks; ++rank) {
    auto const* const piece =
        static_cast<unsigned char const*>(from) + static_cast<std::size_t>(rank) * count * width_of(type);
    steps.push_back({true, piece, to, count, type, op, 0, rank});
  }
  return begin(communicator, stream, std::move(steps));
}
ncclResult_t ncclAllGather(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclComm_t communicator,
                           cudaStream_t stream) {
  std::vector<Step> steps;
  for (int rank = 0; rank < communicator->state->ranks; ++rank) {
    auto* const piece = static_cast<unsigned char*>(to) + static_cast<std::size_t>(rank) * count * width_of(type);
    steps.push_back({false, from, piece, count, type, ncclSum, rank, -1});
  }
  return begin(communicator, stream, std::move(steps));
}
