#include "optim/weight_gather.h"

#include <exception>

#include "base/error.h"
#include "base/stopwatch.h"

namespace jreg::optim {

WeightGather::WeightGather(params::Store const& store, mesh::Mesh const& mesh,
                           std::vector<params::Bucket> const& buckets)
    : store_{store}, mesh_{mesh}, buckets_{buckets}, under_way_(buckets.size()) {}

WeightGather::~WeightGather() {
  // While an error that other ranks do not know of ends this one there is nobody to wait for.
  if (std::uncaught_exceptions() == 0) finish();
}

void WeightGather::begin(std::size_t index) {
  expect(!under_way_.at(index), "a bucket's weights are gathered once");
  params::Bucket const& bucket = buckets_[index];
  under_way_[index] = mesh_.data().begin_all_gather(store_.flat_weights(bucket.range), bucket.counts);
  ++open_;
}

void WeightGather::require(std::size_t unit) {
  if (open_ == 0) return;
  Stopwatch const watch{seconds_waiting_};
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (!under_way_[i] || buckets_[i].first_unit > unit) continue;
    under_way_[i]->finish();
    under_way_[i].reset();
    --open_;
  }
}

void WeightGather::progress() {
  if (open_ == 0) return;
  for (auto const& transfer : under_way_) {
    if (transfer) transfer->progress();
  }
}

void WeightGather::finish() {
  if (!buckets_.empty()) require(buckets_.front().last_unit);  // the last unit of all
}

}  // namespace jreg::optim
