#include "backend/cuda/nccl_collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "backend/cuda/check.h"
#include "backend/cuda/nccl.h"

namespace jreg::backend::cuda {
namespace {

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f64:
      return ncclFloat64;
    case DType::i32:
      return ncclInt32;
    case DType::i64:
      return ncclInt64;
  }
  return ncclFloat32;
}

std::size_t count_of(Tensor const& values) {
  return static_cast<std::size_t>(values.size());
}

bool all_equal(std::span<std::int64_t const> counts) {
  return std::ranges::all_of(counts, [&](std::int64_t count) { return count == counts.front(); });
}

/// call(first element, elements, rank) for every rank's piece that is not empty; stops at the first failure.
template <class Call> ncclResult_t each_piece(std::span<std::int64_t const> counts, Call const& call) {
  std::int64_t begin = 0;
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    if (counts[rank] != 0) {
      ncclResult_t const result = call(begin, static_cast<std::size_t>(counts[rank]), static_cast<int>(rank));
      if (result != ncclSuccess && result != ncclInProgress) return result;
    }
    begin += counts[rank];
  }
  return ncclSuccess;
}

}  // namespace

/// A call on the stream aside; its end is an event there.
class NcclPending : public Pending {
public:
  NcclPending(NcclCollective& owner, char const* what) : owner_{owner}, what_{what}, end_{make_event()} {
    check(cudaEventRecord(end_.get(), owner_.aside_.get()), "record an event");
  }
  NcclPending(NcclPending const&) = delete;
  NcclPending& operator=(NcclPending const&) = delete;
  ~NcclPending() override {
    // Memory that is still written to is about to go. While an exception ends the program nothing is waited for.
    if (!finished_ && std::uncaught_exceptions() == 0) std::terminate();
  }

  bool progress() override {
    if (finished_) return true;
    owner_.communicator_.check_links(what_);
    return reached(end_);
  }

  /// The operations wait for it, the host does not.
  void finish() override {
    if (finished_) return;
    owner_.communicator_.check_links(what_);
    check(cudaStreamWaitEvent(owner_.compute(), end_.get(), 0), "wait for an event");
    finished_ = true;
  }

private:
  NcclCollective& owner_;
  char const* what_;
  Event end_;
  bool finished_ = false;
};

NcclCollective::NcclCollective(mpi::Communicator const& group, cudaStream_t compute, AbortList& abortable)
    : DeviceCollective{compute, group.rank(), group.size()},
      aside_{make_urgent_stream()},
      event_{make_event()},
      communicator_{group, abortable} {}

void NcclCollective::now(char const* what, Call const& call) {
  if (begun_) order(aside_.get(), compute(), event_);
  begun_ = false;
  timer_.start(compute());
  communicator_.run(what, [&](ncclComm_t communicator) { return call(communicator, compute()); });
  timer_.stop(compute());
}

std::unique_ptr<Pending> NcclCollective::beside(char const* what, bool several, Call const& call) {
  order(compute(), aside_.get(), event_);
  begun_ = true;
  auto const aside = [&](ncclComm_t communicator) { return call(communicator, aside_.get()); };
  if (several) {
    communicator_.run_group(what, aside);
  } else {
    communicator_.run(what, aside);
  }
  return std::make_unique<NcclPending>(*this, what);
}

void NcclCollective::transfer_all_reduce(Tensor const& values, Reduction reduction) {
  now("all-reduce", [&](ncclComm_t communicator, cudaStream_t stream) {
    return ncclAllReduce(values.data, values.data, count_of(values), type_of(values.dtype),
                         reduction == Reduction::sum ? ncclSum : ncclMax, communicator, stream);
  });
}

void NcclCollective::transfer_reduce_scatter(Tensor const& full, Tensor const& part) {
  now("reduce-scatter", [&](ncclComm_t communicator, cudaStream_t stream) {
    return ncclReduceScatter(full.data, part.data, count_of(part), type_of(full.dtype), ncclSum, communicator, stream);
  });
}

void NcclCollective::transfer_all_gather(Tensor const& part, Tensor const& full) {
  now("all-gather", [&](ncclComm_t communicator, cudaStream_t stream) {
    return ncclAllGather(part.data, full.data, count_of(part), type_of(full.dtype), communicator, stream);
  });
}

void NcclCollective::transfer_broadcast(Tensor const& values, int root) {
  now("broadcast", [&](ncclComm_t communicator, cudaStream_t stream) {
    return ncclBroadcast(values.data, values.data, count_of(values), type_of(values.dtype), root, communicator, stream);
  });
}

std::unique_ptr<Pending> NcclCollective::start_all_reduce(Tensor const& values) {
  return beside("all-reduce", false, [&](ncclComm_t communicator, cudaStream_t stream) {
    return ncclAllReduce(values.data, values.data, count_of(values), type_of(values.dtype), ncclSum, communicator,
                         stream);
  });
}

std::unique_ptr<Pending> NcclCollective::start_reduce_scatter(Tensor const& values,
                                                              std::span<std::int64_t const> counts) {
  bool const equal = all_equal(counts);
  return beside("reduce-scatter", !equal, [&](ncclComm_t communicator, cudaStream_t stream) {
    if (equal) {
      return ncclReduceScatter(values.data, element_of(values, rank() * counts.front()),
                               static_cast<std::size_t>(counts.front()), type_of(values.dtype), ncclSum, communicator,
                               stream);
    }
    return each_piece(counts, [&](std::int64_t begin, std::size_t count, int root) {
      void* const piece = element_of(values, begin);
      return ncclReduce(piece, piece, count, type_of(values.dtype), ncclSum, root, communicator, stream);
    });
  });
}

std::unique_ptr<Pending> NcclCollective::start_all_gather(Tensor const& values, std::span<std::int64_t const> counts) {
  bool const equal = all_equal(counts);
  return beside("all-gather", !equal, [&](ncclComm_t communicator, cudaStream_t stream) {
    if (equal) {
      return ncclAllGather(element_of(values, rank() * counts.front()), values.data,
                           static_cast<std::size_t>(counts.front()), type_of(values.dtype), communicator, stream);
    }
    return each_piece(counts, [&](std::int64_t begin, std::size_t count, int root) {
      void* const piece = element_of(values, begin);
      return ncclBroadcast(piece, piece, count, type_of(values.dtype), root, communicator, stream);
    });
  });
}

bool built_with_nccl() noexcept {
  return true;
}

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "of unknown version";
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::unique_ptr<Collective> connect_nccl(mpi::Communicator const& group, cudaStream_t compute, AbortList& abortable) {
  return std::make_unique<NcclCollective>(group, compute, abortable);
}

}  // namespace jreg::backend::cuda
