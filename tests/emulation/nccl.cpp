// The calls of NCCL that the backend makes, on the software device: the ranks are processes of one host and exchange
// through POSIX shared memory. Communicators do not block: what a call began is in the stream's queue only after
// somebody has asked for the communicator's state, as with the library. Calls of one communicator that overlap, or that
// differ between ranks, end the process.
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "device_memory.h"
#include "emulation/block.h"
#include "emulation/stream.h"

namespace emulation {
namespace {

constexpr int most_ranks = 64;
constexpr std::size_t slot_bytes = std::size_t{64} << 10U;  // what a rank shows of its values at a time

/// At the beginning of the shared memory, zero at first; behind it stands a slot for each rank.
struct Board {
  std::atomic<int> attached;
  std::atomic<int> failed;                             // a rank broke off
  std::atomic<int> device[most_ranks];                 // 1 + index
  std::atomic<std::uint64_t> shown[most_ranks];        // pieces that a rank has put into its slot
  std::atomic<std::uint64_t> taken[most_ranks];        // pieces that a rank has read from all slots
  std::atomic<std::uint64_t> description[most_ranks];  // of the piece in the slot
};

/// One step of a call: the sum or maximum over the ranks, or one rank's values, appear on `root`, or on all where it is
/// -1.
struct Step {
  bool reduces;
  void const* from;
  void* to;
  std::size_t count;
  ncclDataType_t type;
  ncclRedOp_t op;
  int source;  // whose values, where it does not reduce
  int root;    // who gets them; -1: all
};

struct Call {
  cudaStream_t stream;
  std::vector<Step> steps;
};

/// What outlives the communicator while streams still work for it.
struct State {
  int rank = 0;
  int ranks = 0;
  Board* board = nullptr;
  std::size_t mapped = 0;
  std::atomic<bool> aborted = false;
  std::uint64_t pieces = 0;     // done
  std::uint64_t issued = 0;     // calls
  std::uint64_t completed = 0;  // calls

  ~State() {
    if (board != nullptr) munmap(board, mapped);
  }
  unsigned char* slot(int of_rank) const {
    return reinterpret_cast<unsigned char*>(board) + sizeof(Board) + static_cast<std::size_t>(of_rank) * slot_bytes;
  }
  bool all(std::atomic<std::uint64_t> const (&counters)[most_ranks], std::uint64_t number) const {
    return std::all_of(counters, counters + ranks, [&](auto const& one) { return one.load() >= number; });
  }
};

std::size_t width_of(ncclDataType_t type) {
  switch (type) {
    case ncclBfloat16:
      return 2;
    case ncclFloat32:
      return 4;
    case ncclFloat64:
    case ncclInt64:
      return 8;
    default:
      kernel_error("NCCL of the software device does not know type %d", static_cast<int>(type));
  }
}

template <class T> T combine(ncclRedOp_t op, T a, T b) {
  if (op == ncclSum) return a + b;
  if (op == ncclMax) return std::max(a, b);
  kernel_error("NCCL of the software device does not know reduction %d", static_cast<int>(op));
}

template <class T> void reduce(State const& state, Step const& step, unsigned char* to, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    T result{};
    for (int rank = 0; rank < state.ranks; ++rank) {
      T value;
      std::memcpy(&value, state.slot(rank) + i * sizeof(T), sizeof(T));
      if constexpr (std::is_same_v<T, __nv_bfloat16>) {
        result = rank == 0 ? value
                           : __float2bfloat16_rn(combine(step.op, __bfloat162float(result), __bfloat162float(value)));
      } else {
        result = rank == 0 ? value : combine(step.op, result, value);
      }
    }
    std::memcpy(to + i * sizeof(T), &result, sizeof(T));
  }
}

std::uint64_t description_of(Step const& step) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (std::uint64_t const value : {std::uint64_t{step.reduces}, std::uint64_t{step.count},
                                    static_cast<std::uint64_t>(step.type), static_cast<std::uint64_t>(step.op),
                                    static_cast<std::uint64_t>(step.source), static_cast<std::uint64_t>(step.root)}) {
    hash = (hash ^ value) * 1099511628211ULL;
  }
  return hash;
}

/// A call at work on its stream: piece after piece, without waiting for other ranks.
class Transfer {
public:
  Transfer(std::shared_ptr<State> state, std::vector<Step> steps)
      : state_{std::move(state)}, steps_{std::move(steps)}, number_{state_->issued++} {}

  /// True once it is done, false while others have not come so far.
  bool operator()() {
    if (state_->aborted) return true;
    if (state_->completed != number_) {
      kernel_error("call %llu of a communicator runs before call %llu is over",
                   static_cast<unsigned long long>(number_), static_cast<unsigned long long>(state_->completed));
    }
    for (; step_ < steps_.size(); ++step_, begin_ = 0) {
      Step const& step = steps_[step_];
      while (begin_ < step.count) {
        if (!move_piece(step)) return false;
      }
    }
    ++state_->completed;
    return true;
  }

private:
  bool move_piece(Step const& step) {
    Board& board = *state_->board;
    auto const own = static_cast<std::size_t>(state_->rank);
    std::size_t const width = width_of(step.type);
    std::size_t const count = std::min(slot_bytes / width, step.count - begin_);
    std::uint64_t const number = state_->pieces + 1;
    if (board.shown[own] < number) {
      if (!state_->all(board.taken, state_->pieces)) return false;  // somebody still reads the piece before
      std::memset(state_->slot(state_->rank), 0xff, count * width);
      if (step.reduces || step.source == state_->rank) {
        std::memcpy(state_->slot(state_->rank), static_cast<unsigned char const*>(step.from) + begin_ * width,
                    count * width);
      }
      board.description[own] = description_of(step);
      board.shown[own] = number;
    }
    if (!state_->all(board.shown, number)) return false;
    for (int rank = 0; rank < state_->ranks; ++rank) {
      if (board.description[rank] != description_of(step)) kernel_error("ranks call NCCL differently");
    }
    if (step.root < 0 || step.root == state_->rank) take(step, count, width);
    board.taken[own] = number;
    state_->pieces = number;
    begin_ += count;
    return true;
  }

  void take(Step const& step, std::size_t count, std::size_t width) const {
    auto* const to = static_cast<unsigned char*>(step.to) + begin_ * width;
    if (!step.reduces) {
      std::memcpy(to, state_->slot(step.source), count * width);
      return;
    }
    switch (step.type) {
      case ncclBfloat16:
        return reduce<__nv_bfloat16>(*state_, step, to, count);
      case ncclFloat32:
        return reduce<float>(*state_, step, to, count);
      case ncclFloat64:
        return reduce<double>(*state_, step, to, count);
      default:
        return reduce<std::int64_t>(*state_, step, to, count);
    }
  }

  std::shared_ptr<State> state_;
  std::vector<Step> steps_;
  std::uint64_t number_;
  std::size_t step_ = 0;
  std::size_t begin_ = 0;  // of the next piece
};

}  // namespace
}  // namespace emulation

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
