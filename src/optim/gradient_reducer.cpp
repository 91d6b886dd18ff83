#include "optim/gradient_reducer.h"

#include "base/error.h"
#include "base/stopwatch.h"

namespace jreg::optim {
GradientReducer::GradientReducer(params::Store const& store, mesh::Mesh const& mesh,
                                 std::vector<params::Bucket> const& buckets, bool scatter)
    : store_{store}, mesh_{mesh}, buckets_{buckets}, scatter_{scatter} {
  under_way_.reserve(buckets.size());
}

void GradientReducer::add_tensor_summands(params::Unit const& unit) {
  params::Registry const& registry = store_.registry();
  for (std::size_t i = unit.first; i < unit.last; ++i) {
    if (!registry[i].partial_gradient) continue;
    // Norm gains saw only this rank's tokens; repeated key/value heads only this rank's query heads.
    bool const kv = registry[i].declared.split == params::Split::kv_rows;
    (kv ? mesh_.kv_replica() : mesh_.tensor()).all_reduce(store_.gradient(i), backend::Reduction::sum);
  }
}

void GradientReducer::unit_done(std::size_t unit) {
  Stopwatch const watch{seconds_within_};
  add_tensor_summands(store_.registry().units().at(unit));
  expect(next_bucket_ < buckets_.size(), "units of a backward pass come once");
  params::Bucket const& bucket = buckets_[next_bucket_];
  expect(unit >= bucket.first_unit && unit < bucket.last_unit, "units become complete from the last to the first");
  if (unit == bucket.first_unit) {
    ++next_bucket_;
    if (mesh_.data().size() > 1) {
      backend::Tensor const values = store_.flat_gradients(bucket.range);
      under_way_.push_back({scatter_ ? mesh_.data().begin_reduce_scatter(values, bucket.counts)
                                     : mesh_.data().begin_all_reduce(values)});
    }
  }
  move_on();
}

void GradientReducer::progress() {
  if (under_way_.empty()) return;
  Stopwatch const watch{seconds_within_};
  move_on();
}

void GradientReducer::move_on() {
  for (UnderWay& one : under_way_) {
    if (!one.complete) one.complete = one.transfer->progress();
  }
}

void GradientReducer::finish() {
  Stopwatch const watch{seconds_waiting_};
  expect_equal(next_bucket_, buckets_.size(), "all buckets have begun before the reduction is finished");
  for (UnderWay& one : under_way_) one.transfer->finish();
  under_way_.clear();
  next_bucket_ = 0;
}

}  // namespace jreg::optim
