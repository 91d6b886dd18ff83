#pragma once

#include <memory>
#include <vector>

#include "mesh/mesh.h"
#include "params/partition.h"
#include "params/store.h"

namespace jreg::optim {

/// Sums gradients over the ranks, bucket by bucket, while the backward pass still runs. Every term of the loss is
/// divided by the global number of tokens beforehand, so sums are what is wanted.
class GradientReducer {
public:
  /// `scatter`: each data rank receives only its part of a bucket (ZeRO-1); otherwise all of it.
  GradientReducer(params::Store const& store, mesh::Mesh const& mesh, std::vector<params::Bucket> const& buckets,
                  bool scatter);
  GradientReducer(GradientReducer const&) = delete;
  GradientReducer& operator=(GradientReducer const&) = delete;

  /// The gradients of `unit` are complete on this rank: the summands of tensor ranks are added up, and the bucket
  /// begins its way once its last unit is there. Units come from the last to the first.
  void unit_done(std::size_t unit);
  /// Lets the transfers move on; call it between the operations of the backward pass.
  void progress();
  /// Seconds that this rank has spent here instead of computing, since its beginning: on transfers between the
  /// operations of backward passes, and waiting for those that were still under way behind them.
  double seconds_within() const noexcept { return seconds_within_; }
  double seconds_waiting() const noexcept { return seconds_waiting_; }
  /// From here on gradients are whole and equal on all data ranks (each in its part with `scatter`).
  void finish();

private:
  struct UnderWay {
    std::unique_ptr<backend::Pending> transfer;
    bool complete = false;
  };
  void add_tensor_summands(params::Unit const& unit);
  void move_on();

  params::Store const& store_;
  mesh::Mesh const& mesh_;
  std::vector<params::Bucket> const& buckets_;
  bool scatter_;
  std::size_t next_bucket_ = 0;
  double seconds_within_ = 0;
  double seconds_waiting_ = 0;
  std::vector<UnderWay> under_way_;
};

}  // namespace jreg::optim
