#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/tensor.h"
#include "backend/traffic.h"
#include "base/error.h"

namespace jreg::backend {

enum class Reduction { sum, max };

/// A collective that was begun and may still be running. Destroying it before finish() is a broken invariant.
class Pending {
public:
  virtual ~Pending() = default;
  /// Lets the transfer move on (MPI makes no progress by itself); true once it is complete. Never blocks.
  virtual bool progress() = 0;
  /// Waits until it is complete; afterwards later operations of the backend see the result.
  virtual void finish() = 0;
};

/// Collectives over one group of ranks, on this backend's memory, in the order of its operations.
/// Every rank of the group makes the same calls in the same order. Tensors are contiguous; f32, f64, bf16, i64.
/// Every rank receives the same bits. With one rank in the group nothing happens.
class Collective {
public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  virtual void all_reduce(Tensor const& values, Reduction reduction) = 0;
  /// `full` (size * rows(part), columns) -> sum over the ranks, rank r keeps the r-th block of rows in `part`.
  virtual void reduce_scatter(Tensor const& full, Tensor const& part) = 0;
  /// `part` of rank r becomes the r-th block of rows of `full`, on every rank. `part` may lie in its place in `full`.
  virtual void all_gather(Tensor const& part, Tensor const& full) = 0;
  virtual void broadcast(Tensor const& values, int root) = 0;

  /// Sum over the ranks in place, while the caller computes.
  virtual std::unique_ptr<Pending> begin_all_reduce(Tensor const& values) = 0;
  /// The flat `values` are cut into size() pieces of `counts[r]` elements; in rank r's own piece the sum over the
  /// ranks appears, the others are left undefined. Counts may differ and be zero.
  virtual std::unique_ptr<Pending> begin_reduce_scatter(Tensor const& values, std::span<std::int64_t const> counts) = 0;
  /// The way back: rank r's piece of the flat `values` appears on every rank.
  virtual std::unique_ptr<Pending> begin_all_gather(Tensor const& values, std::span<std::int64_t const> counts) = 0;

  /// What has travelled through the calls above so far.
  TrafficCounts const& traffic() const noexcept { return traffic_; }
  /// Seconds that this rank has spent in the calls above that wait for other ranks (not those named begin).
  virtual double waited_seconds() const = 0;

protected:
  TrafficCounts traffic_;  // what implementations count in
};

}  // namespace jreg::backend
