#include "backend/cpu/cpu_collective.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <vector>

#include "backend/argument_checks.h"
#include "base/stopwatch.h"
#include "mpi/check.h"

namespace jreg::backend::cpu {

namespace {

char* element(Tensor const& values, std::int64_t index) {
  return static_cast<char*>(values.data) + index * static_cast<std::int64_t>(size_of(values.dtype));
}

/// Nothing was begun: one rank alone.
class Done : public Pending {
public:
  bool progress() override { return true; }
  void finish() override {}
};

/// MPI requests under way, and what is left to do once they are complete.
class Requests : public Pending {
public:
  ~Requests() override {
    // Memory that MPI still writes to is about to go. While an exception ends the program there is nothing to wait for.
    if (!complete_ && std::uncaught_exceptions() == 0) std::terminate();
  }

  MPI_Request* add() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  /// On completion `bytes` move from `from` to `to`.
  void then_move(void* to, void const* from, std::size_t bytes) { move_ = {to, from, bytes}; }
  /// `counts` and offsets that MPI reads until completion.
  std::vector<int>& keep(std::vector<int> numbers) { return kept_.emplace_back(std::move(numbers)); }
  /// A request that could not be begun leaves nothing to wait for.
  void reserve(std::size_t requests) {
    requests_.reserve(requests);
    kept_.reserve(2);
  }

  bool progress() override {
    if (complete_) return true;
    int all = 0;
    mpi::check(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE));
    if (all != 0) completed();
    return complete_;
  }

  void finish() override {
    if (complete_) return;
    mpi::check(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
    completed();
  }

private:
  struct Move {
    void* to = nullptr;
    void const* from = nullptr;
    std::size_t bytes = 0;
  };

  void completed() {
    complete_ = true;
    if (move_.bytes != 0) std::memmove(move_.to, move_.from, move_.bytes);
  }

  std::vector<MPI_Request> requests_;
  std::vector<std::vector<int>> kept_;
  Move move_;
  bool complete_ = false;
};

std::vector<int> offsets_of(std::vector<int> const& counts) {
  std::vector<int> offsets(counts.size(), 0);
  std::partial_sum(counts.begin(), counts.end() - 1, offsets.begin() + 1);
  return offsets;
}

std::vector<int> as_ints(std::span<std::int64_t const> counts) {
  std::vector<int> numbers;
  for (std::int64_t const count : counts) numbers.push_back(static_cast<int>(count));
  return numbers;
}

}  // namespace

CpuCollective::CpuCollective(MPI_Comm group, std::int64_t largest_call)
    : group_{mpi::Communicator::duplicate(group)}, largest_call_{largest_call} {}

template <class Body> void CpuCollective::in_pieces(std::int64_t elements, Body const& body) const {
  for (std::int64_t first = 0; first < elements; first += largest_call_) {
    body(first, static_cast<int>(std::min(largest_call_, elements - first)));
  }
}

void CpuCollective::all_reduce(Tensor const& values, Reduction reduction) {
  check_collective(values);
  if (size() == 1) return;
  traffic_[CollectiveKind::all_reduce] += all_reduce_traffic(values.bytes(), size());
  Stopwatch const waiting{waited_seconds_};
  in_pieces(values.size(), [&](std::int64_t first, int count) {
    mpi::check(MPI_Allreduce(MPI_IN_PLACE, element(values, first), count, types_.type(values.dtype),
                             types_.op(values.dtype, reduction), group_.get()));
  });
}

void CpuCollective::reduce_scatter(Tensor const& full, Tensor const& part) {
  check_collective_parts(full, part, size());
  MPI_Datatype const type = types_.type(full.dtype);
  MPI_Op const op = types_.op(full.dtype, Reduction::sum);
  if (size() == 1) {
    if (full.data != part.data) std::memcpy(part.data, full.data, static_cast<std::size_t>(part.bytes()));
    return;
  }
  traffic_[CollectiveKind::reduce_scatter] += reduce_scatter_traffic(full.bytes(), part.bytes());
  Stopwatch const waiting{waited_seconds_};
  if (full.size() <= largest_call_) {
    mpi::check(MPI_Reduce_scatter_block(full.data, part.data, static_cast<int>(part.size()), type, op, group_.get()));
    return;
  }
  for (int root = 0; root < size(); ++root) {
    in_pieces(part.size(), [&](std::int64_t first, int count) {
      mpi::check(MPI_Reduce(element(full, root * part.size() + first), element(part, first), count, type, op, root,
                            group_.get()));
    });
  }
}

void CpuCollective::all_gather(Tensor const& part, Tensor const& full) {
  check_collective_parts(full, part, size());
  char* const own = element(full, rank() * part.size());
  if (own != part.data && part.size() != 0) std::memcpy(own, part.data, static_cast<std::size_t>(part.bytes()));
  if (size() == 1) return;
  traffic_[CollectiveKind::all_gather] += all_gather_traffic(full.bytes(), part.bytes(), part.bytes());
  Stopwatch const waiting{waited_seconds_};
  MPI_Datatype const type = types_.type(full.dtype);
  if (full.size() <= largest_call_) {
    mpi::check(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, full.data, static_cast<int>(part.size()), type,
                             group_.get()));
    return;
  }
  for (int root = 0; root < size(); ++root) {
    in_pieces(part.size(), [&](std::int64_t first, int count) {
      mpi::check(MPI_Bcast(element(full, root * part.size() + first), count, type, root, group_.get()));
    });
  }
}

void CpuCollective::broadcast(Tensor const& values, int root) {
  check_collective(values);
  if (size() == 1) return;
  traffic_[CollectiveKind::broadcast] += broadcast_traffic(values.bytes(), rank(), root, size());
  Stopwatch const waiting{waited_seconds_};
  in_pieces(values.size(), [&](std::int64_t first, int count) {
    mpi::check(MPI_Bcast(element(values, first), count, types_.type(values.dtype), root, group_.get()));
  });
}

std::unique_ptr<Pending> CpuCollective::begin_all_reduce(Tensor const& values) {
  check_collective(values);
  if (size() == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::all_reduce] += all_reduce_traffic(values.bytes(), size());
  auto pending = std::make_unique<Requests>();
  in_pieces(values.size(), [&](std::int64_t first, int count) {
    mpi::check(MPI_Iallreduce(MPI_IN_PLACE, element(values, first), count, types_.type(values.dtype),
                              types_.op(values.dtype, Reduction::sum), group_.get(), pending->add()));
  });
  return pending;
}

std::unique_ptr<Pending> CpuCollective::begin_reduce_scatter(Tensor const& values,
                                                             std::span<std::int64_t const> counts) {
  check_collective_counts(values, counts, size());
  if (size() == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::reduce_scatter] += reduce_scatter_traffic(values, counts, rank());
  auto pending = std::make_unique<Requests>();
  MPI_Datatype const type = types_.type(values.dtype);
  MPI_Op const op = types_.op(values.dtype, Reduction::sum);
  if (values.size() <= largest_call_) {
    pending->reserve(1);
    auto const& sizes = pending->keep(as_ints(counts));
    mpi::check(MPI_Ireduce_scatter(MPI_IN_PLACE, values.data, sizes.data(), type, op, group_.get(), pending->add()));
    // In place, MPI leaves a rank's piece at the beginning.
    std::int64_t const own = std::accumulate(counts.begin(), counts.begin() + rank(), std::int64_t{0});
    pending->then_move(element(values, own), values.data,
                       static_cast<std::size_t>(counts[static_cast<std::size_t>(rank())]) * size_of(values.dtype));
    return pending;
  }
  std::int64_t begin = 0;
  for (int root = 0; root < size(); ++root) {
    in_pieces(counts[static_cast<std::size_t>(root)], [&](std::int64_t first, int count) {
      char* const piece = element(values, begin + first);
      mpi::check(MPI_Ireduce(rank() == root ? MPI_IN_PLACE : piece, piece, count, type, op, root, group_.get(),
                             pending->add()));
    });
    begin += counts[static_cast<std::size_t>(root)];
  }
  return pending;
}

std::unique_ptr<Pending> CpuCollective::begin_all_gather(Tensor const& values, std::span<std::int64_t const> counts) {
  check_collective_counts(values, counts, size());
  if (size() == 1) return std::make_unique<Done>();
  traffic_[CollectiveKind::all_gather] += all_gather_traffic(values, counts, rank());
  auto pending = std::make_unique<Requests>();
  MPI_Datatype const type = types_.type(values.dtype);
  if (values.size() <= largest_call_) {
    pending->reserve(1);
    auto const& sizes = pending->keep(as_ints(counts));
    auto const& offsets = pending->keep(offsets_of(sizes));
    mpi::check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data, sizes.data(), offsets.data(), type,
                               group_.get(), pending->add()));
    return pending;
  }
  std::int64_t begin = 0;
  for (int root = 0; root < size(); ++root) {
    in_pieces(counts[static_cast<std::size_t>(root)], [&](std::int64_t first, int count) {
      mpi::check(MPI_Ibcast(element(values, begin + first), count, type, root, group_.get(), pending->add()));
    });
    begin += counts[static_cast<std::size_t>(root)];
  }
  return pending;
}

}  // namespace jreg::backend::cpu
