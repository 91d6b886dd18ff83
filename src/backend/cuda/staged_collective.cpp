#include "backend/cuda/staged_collective.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <functional>
#include <numeric>

#include "backend/cuda/check.h"

namespace jreg::backend::cuda {
namespace {

/// The same tensor in other memory.
Tensor at(void* memory, Tensor const& like) {
  return {memory, like.dtype, like.rows, like.columns};
}

/// Elements [begin, begin + count) of flat values.
Tensor piece_of(Tensor const& values, std::int64_t begin, std::int64_t count) {
  return {element_of(values, begin), values.dtype, 1, count};
}

/// What rank `rank` has of flat `values`.
Tensor piece_of_rank(Tensor const& values, std::span<std::int64_t const> counts, int rank) {
  return piece_of(values, std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0}),
                  counts[static_cast<std::size_t>(rank)]);
}

}  // namespace

/// A call under way: its values come to the host, travel, and go back.
class StagedPending : public Pending {
public:
  using Begin = std::function<std::unique_ptr<Pending>(Tensor const& whole)>;

  /// `values` on the device; of them `fetched` comes to its place on the host and `stored` goes back.
  StagedPending(StagedCollective& owner, Tensor const& values, Tensor const& fetched, Tensor const& stored, Begin begin)
      : owner_{owner},
        stage_{owner.borrow(values.bytes())},
        host_{at(stage_.memory.get(), values)},
        host_stored_{at(place_of(values, stored), stored)},
        stored_{stored},
        begin_{std::move(begin)},
        arrived_{make_event()},
        back_{make_event()} {
    owner_.fetch(fetched, place_of(values, fetched));
    check(cudaEventRecord(arrived_.get(), owner_.copies_.get()), "record an event");
    owner_.waiting_.push_back(this);
  }
  StagedPending(StagedPending const&) = delete;
  StagedPending& operator=(StagedPending const&) = delete;
  ~StagedPending() override {
    // Memory that is still copied to is about to go. While an exception ends the program nothing is waited for.
    if (state_ != State::finished && std::uncaught_exceptions() == 0) std::terminate();
    std::erase(owner_.waiting_, this);
  }

  bool progress() override {
    if (state_ == State::fetching) owner_.begin_arrived();
    if (state_ == State::travelling && transfer_->progress()) store();
    return state_ == State::finished || (state_ == State::storing && reached(back_));
  }

  void finish() override {
    if (state_ == State::finished) return;
    if (state_ == State::fetching) owner_.begin_in_order(this);
    if (state_ == State::travelling) {
      transfer_->finish();
      store();
    }
    check(cudaStreamWaitEvent(owner_.compute(), back_.get(), 0), "wait for an event");
    state_ = State::finished;
    owner_.give_back(std::move(stage_));
  }

  bool arrived() const { return reached(arrived_); }
  /// Its values are on the host, and it is its turn.
  void begin() {
    check(cudaEventSynchronize(arrived_.get()), "wait for the GPU");
    transfer_ = begin_(host_);
    state_ = State::travelling;
  }

private:
  enum class State { fetching, travelling, storing, finished };

  /// Where a piece of the device's values lies on the host.
  void* place_of(Tensor const& values, Tensor const& piece) const {
    return static_cast<char*>(stage_.memory.get()) +
           (static_cast<char const*>(piece.data) - static_cast<char const*>(values.data));
  }

  void store() {
    state_ = State::storing;
    if (stored_.size() != 0) {
      check(cudaMemcpyAsync(stored_.data, host_stored_.data, static_cast<std::size_t>(stored_.bytes()),
                            cudaMemcpyHostToDevice, owner_.copies_.get()),
            "copy from the host");
    }
    check(cudaEventRecord(back_.get(), owner_.copies_.get()), "record an event");
  }

  StagedCollective& owner_;
  StagedCollective::Stage stage_;
  Tensor host_;
  Tensor host_stored_;
  Tensor stored_;
  Begin begin_;
  Event arrived_;
  Event back_;
  State state_ = State::fetching;
  std::unique_ptr<Pending> transfer_;
};

StagedCollective::StagedCollective(mpi::Communicator const& group, cudaStream_t compute)
    : DeviceCollective{compute, group.rank(), group.size()},
      host_{group.get()},
      copies_{make_urgent_stream()},
      event_{make_event()} {}

StagedCollective::~StagedCollective() {
  cudaStreamSynchronize(copies_.get());  // the pinned memory goes next
}

StagedCollective::Stage StagedCollective::borrow(std::int64_t bytes) {
  auto const needed = static_cast<std::size_t>(bytes);
  auto const fits = std::ranges::find_if(stages_, [&](Stage const& stage) { return stage.bytes >= needed; });
  if (fits != stages_.end()) {
    Stage found = std::move(*fits);
    stages_.erase(fits);
    return found;
  }
  if (!stages_.empty()) {
    check(cudaStreamSynchronize(copies_.get()), "wait for the GPU");
    stages_.pop_back();
  }
  std::size_t const size = std::bit_ceil(needed);
  return {make_pinned(size), size};
}

void StagedCollective::fetch(Tensor const& from, void* host) {
  order(compute(), copies_.get(), event_);
  if (from.size() == 0) return;
  check(cudaMemcpyAsync(host, from.data, static_cast<std::size_t>(from.bytes()), cudaMemcpyDeviceToHost, copies_.get()),
        "copy to the host");
}

void StagedCollective::store(Tensor const& from, Tensor const& to) {
  check(
      cudaMemcpyAsync(to.data, from.data, static_cast<std::size_t>(to.bytes()), cudaMemcpyHostToDevice, copies_.get()),
      "copy from the host");
  order(copies_.get(), compute(), event_);
}

void StagedCollective::begin_in_order(StagedPending const* last) {
  while (!waiting_.empty()) {
    StagedPending* const next = waiting_.front();
    waiting_.pop_front();
    next->begin();
    if (next == last) return;
  }
}

void StagedCollective::begin_arrived() {
  while (!waiting_.empty() && waiting_.front()->arrived()) begin_in_order(waiting_.front());
}

template <class Body> void StagedCollective::in_stage(Tensor const& from, std::int64_t bytes, Body const& body) {
  Stage stage = borrow(bytes);
  fetch(from, stage.memory.get());
  begin_in_order(nullptr);
  check(cudaStreamSynchronize(copies_.get()), "wait for the GPU");
  body(static_cast<char*>(stage.memory.get()));
  give_back(std::move(stage));
}

void StagedCollective::transfer_all_reduce(Tensor const& values, Reduction reduction) {
  in_stage(values, values.bytes(), [&](void* host) {
    host_.all_reduce(at(host, values), reduction);
    store(at(host, values), values);
  });
}

void StagedCollective::transfer_reduce_scatter(Tensor const& full, Tensor const& part) {
  in_stage(full, full.bytes() + part.bytes(), [&](char* host) {
    Tensor const host_part = at(host + full.bytes(), part);
    host_.reduce_scatter(at(host, full), host_part);
    store(host_part, part);
  });
}

void StagedCollective::transfer_all_gather(Tensor const& part, Tensor const& full) {
  in_stage(part, full.bytes() + part.bytes(), [&](char* host) {
    Tensor const whole = at(host + part.bytes(), full);
    host_.all_gather(at(host, part), whole);
    store(whole, full);
  });
}

void StagedCollective::transfer_broadcast(Tensor const& values, int root) {
  in_stage(rank() == root ? values : Tensor{}, values.bytes(), [&](void* host) {
    host_.broadcast(at(host, values), root);
    if (rank() != root) store(at(host, values), values);
  });
}

std::unique_ptr<Pending> StagedCollective::start_all_reduce(Tensor const& values) {
  return std::make_unique<StagedPending>(*this, values, values, values,
                                         [this](Tensor const& host) { return host_.begin_all_reduce(host); });
}

std::unique_ptr<Pending> StagedCollective::start_reduce_scatter(Tensor const& values,
                                                                std::span<std::int64_t const> counts) {
  return std::make_unique<StagedPending>(*this, values, values, piece_of_rank(values, counts, rank()),
                                         [this, kept = std::vector(counts.begin(), counts.end())](Tensor const& host) {
                                           return host_.begin_reduce_scatter(host, kept);
                                         });
}

std::unique_ptr<Pending> StagedCollective::start_all_gather(Tensor const& values,
                                                            std::span<std::int64_t const> counts) {
  return std::make_unique<StagedPending>(*this, values, piece_of_rank(values, counts, rank()), values,
                                         [this, kept = std::vector(counts.begin(), counts.end())](Tensor const& host) {
                                           return host_.begin_all_gather(host, kept);
                                         });
}

}  // namespace jreg::backend::cuda
