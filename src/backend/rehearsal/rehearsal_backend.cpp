#include "backend/rehearsal/rehearsal_backend.h"

#include <algorithm>

namespace jreg::backend::rehearsal {
namespace {

class RehearsalPending : public Pending {
public:
  RehearsalPending(Trace& trace, std::size_t number) : trace_{trace}, number_{number} {}
  bool progress() override { return true; }
  void finish() override { trace_.events.emplace_back(Finish{number_}); }

private:
  Trace& trace_;
  std::size_t number_;
};

class Done : public Pending {
public:
  bool progress() override { return true; }
  void finish() override {}
};

class RehearsalCollective : public Collective {
public:
  RehearsalCollective(Trace& trace, Group group, int rank, int ranks)
      : trace_{trace}, group_{group}, rank_{rank}, size_{ranks} {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  double waited_seconds() const override { return 0; }

  void all_reduce(Tensor const& values, Reduction reduction) override {
    if (size_ == 1) return;
    add(CollectiveKind::all_reduce, reduction, values, all_reduce_traffic(values.bytes(), size_), true);
  }
  void reduce_scatter(Tensor const& full, Tensor const& part) override {
    if (size_ == 1) return;
    add(CollectiveKind::reduce_scatter, Reduction::sum, full, reduce_scatter_traffic(full.bytes(), part.bytes()), true);
  }
  void all_gather(Tensor const& part, Tensor const& full) override {
    if (size_ == 1) return;
    Traffic const traffic = all_gather_traffic(full.bytes(), part.bytes(), part.bytes());
    add(CollectiveKind::all_gather, Reduction::sum, full, traffic, true);
  }
  void broadcast(Tensor const& values, int root) override {
    if (size_ == 1) return;
    Traffic const traffic = broadcast_traffic(values.bytes(), rank_, root, size_);
    add(CollectiveKind::broadcast, Reduction::sum, values, traffic, true);
  }

  std::unique_ptr<Pending> begin_all_reduce(Tensor const& values) override {
    if (size_ == 1) return std::make_unique<Done>();
    return add(CollectiveKind::all_reduce, Reduction::sum, values, all_reduce_traffic(values.bytes(), size_), false);
  }
  std::unique_ptr<Pending> begin_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) override {
    if (size_ == 1) return std::make_unique<Done>();
    Traffic const traffic = reduce_scatter_traffic(values, counts, rank_);
    return add(CollectiveKind::reduce_scatter, Reduction::sum, values, traffic, false);
  }
  std::unique_ptr<Pending> begin_all_gather(Tensor const& values, std::span<std::int64_t const> counts) override {
    if (size_ == 1) return std::make_unique<Done>();
    Traffic const traffic = all_gather_traffic(values, counts, rank_);
    return add(CollectiveKind::all_gather, Reduction::sum, values, traffic, false);
  }

private:
  std::unique_ptr<Pending> add(CollectiveKind kind, Reduction reduction, Tensor const& whole, Traffic const& traffic,
                               bool waits) {
    traffic_[kind] += traffic;
    trace_.events.emplace_back(
        Transfer{group_, size_, kind, reduction, whole.dtype, whole.rows, whole.columns, traffic, waits});
    if (waits) return nullptr;
    return std::make_unique<RehearsalPending>(trace_, trace_.begun++);
  }

  Trace& trace_;
  Group group_;
  int rank_;
  int size_;
};

}  // namespace

std::unique_ptr<Collective> RehearsalBackend::connect(MPI_Comm /*group*/) {
  throw InternalError{"a rehearsal has no other ranks to connect to", std::source_location::current()};
}

std::unique_ptr<Collective> RehearsalBackend::group(Group group, int rank, int ranks) {
  return std::make_unique<RehearsalCollective>(trace_, group, rank, ranks);
}

void* RehearsalBackend::allocate(std::size_t bytes) {
  constexpr std::size_t page = 4096;
  auto* const memory = reinterpret_cast<void*>(next_);
  next_ += (bytes / page + 1) * page;
  bytes_in_use_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_in_use_);
  return memory;
}

void RehearsalBackend::deallocate(void* /*memory*/, std::size_t bytes) noexcept {
  bytes_in_use_ -= bytes;
}

void RehearsalBackend::copy_to_host(void* host, void const* /*memory*/, std::size_t bytes) {
  std::fill_n(static_cast<double*>(host), bytes / sizeof(double), 1.0);
}

void RehearsalBackend::copy_from_host(void* /*memory*/, void const* /*host*/, std::size_t /*bytes*/) {}

}  // namespace jreg::backend::rehearsal
