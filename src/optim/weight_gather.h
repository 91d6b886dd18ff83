#pragma once

#include <memory>
#include <vector>

#include "mesh/mesh.h"
#include "params/partition.h"
#include "params/store.h"

namespace jreg::optim {

/// ZeRO-1's exchange of new weights between data ranks, a bucket at a time, while the next forward pass already
/// computes with those that are there.
class WeightGather {
public:
  WeightGather(params::Store const& store, mesh::Mesh const& mesh, std::vector<params::Bucket> const& buckets);
  WeightGather(WeightGather const&) = delete;
  WeightGather& operator=(WeightGather const&) = delete;
  ~WeightGather();

  /// This rank's part of bucket `index` is new. Collective over data ranks, in one order on all of them.
  void begin(std::size_t index);
  /// From here on the weights of `unit` are whole; units are asked for from the first to the last.
  void require(std::size_t unit);
  /// Lets what is under way move on; call it between operations.
  void progress();
  /// From here on all weights are whole.
  void finish();
  /// Seconds that this rank has spent in require() and finish().
  double seconds_waiting() const noexcept { return seconds_waiting_; }

private:
  params::Store const& store_;
  mesh::Mesh const& mesh_;
  std::vector<params::Bucket> const& buckets_;
  std::vector<std::unique_ptr<backend::Pending>> under_way_;  // by bucket; null: not under way
  std::size_t open_ = 0;                                      // how many are not null
  double seconds_waiting_ = 0;
};

}  // namespace jreg::optim
