#pragma once

#include <cuda_bf16.h>
#include <nccl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "emulation/block.h"

// How ranks exchange in the NCCL of the software device: piece by piece through shared memory.
namespace emulation {

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

/// What one call puts into a stream's queue.
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

inline std::size_t width_of(ncclDataType_t type) {
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

inline std::uint64_t description_of(Step const& step) {
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

}  // namespace emulation
