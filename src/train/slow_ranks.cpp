#include "train/slow_ranks.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace jreg::train {
namespace {

/// A rank that is slow for this many updates, and this many comparisons, is no passing thing.
constexpr std::int64_t least_updates = 10;
constexpr std::int64_t least_comparisons = 3;

std::int64_t patience_of(std::int64_t interval) {
  return std::max(least_comparisons, (least_updates + interval - 1) / interval);
}

}  // namespace

SlowRanks::SlowRanks(int ranks, std::int64_t patience)
    : patience_{patience},
      slow_(static_cast<std::size_t>(ranks), 0),
      next_(static_cast<std::size_t>(ranks), patience) {}

double SlowRanks::median(std::span<double const> values) {
  std::vector<double> sorted{values.begin(), values.end()};
  auto const middle = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) / 2);
  std::ranges::nth_element(sorted, middle);
  return *middle;
}

std::vector<int> SlowRanks::compare(std::span<double const> seconds) {
  expect_equal(seconds.size(), slow_.size(), "one time a rank");
  double const limit = ratio * median(seconds);
  std::vector<int> told;
  for (std::size_t rank = 0; rank < slow_.size(); ++rank) {
    if (seconds[rank] <= limit) {
      slow_[rank] = 0;
      next_[rank] = patience_;
    } else if (++slow_[rank] == next_[rank]) {
      next_[rank] *= 2;
      told.push_back(static_cast<int>(rank));
    }
  }
  return told;
}

Pace::Pace(mesh::Mesh const& mesh, std::vector<std::string> hosts, std::int64_t interval)
    : mesh_{mesh},
      hosts_{std::move(hosts)},
      interval_{interval},
      slow_{mesh.world().size(), patience_of(interval)},
      begin_{Clock::now()} {}

double Pace::waited() const {
  return mesh_.data().waited_seconds() + mesh_.tensor().waited_seconds() + mesh_.kv_replica().waited_seconds() +
         mesh_.all().waited_seconds();
}

void Pace::begin() {
  begin_ = Clock::now();
  waited_before_ = waited();
}

void Pace::computed() {
  seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count() - (waited() - waited_before_);
  ++updates_;
}

std::vector<int> Pace::updated(std::int64_t step) {
  if (step % interval_ != 0 || updates_ == 0) return {};
  std::vector<double> seconds(hosts_.size(), 0.0);  // (ranks)
  auto const own = static_cast<std::size_t>(mesh_.world().rank());
  seconds[own] = seconds_ / static_cast<double>(updates_);
  seconds_ = 0;
  updates_ = 0;
  mesh_.world().sum(std::span{seconds});
  std::vector<int> slow = slow_.compare(seconds);
  if (own != 0) return slow;
  for (int const rank : slow) {
    auto const at = static_cast<std::size_t>(rank);
    log::warning(
        "step {}: rank {} on host {} is slow: it computes {:.3g} s of an update, the median of the ranks {:.3g} s",
        step, rank, hosts_[at], seconds[at], SlowRanks::median(seconds));
  }
  return slow;
}

}  // namespace jreg::train
