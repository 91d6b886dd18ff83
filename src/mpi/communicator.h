#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/handle.h"

namespace jreg::mpi {

struct CommTraits {
  using Raw = MPI_Comm;
  static Raw null() { return MPI_COMM_NULL; }
  static void close(Raw raw) noexcept { MPI_Comm_free(&raw); }
};

/// Owns a communicator of its own (never MPI_COMM_WORLD itself: a duplicate). All calls are collective.
class Communicator {
public:
  /// A duplicate of `from`, with errors returned rather than fatal.
  static Communicator duplicate(MPI_Comm from);

  /// Ranks of equal `color` together, ordered by `key`.
  Communicator split(int color, int key) const;
  /// Ranks that share this rank's memory (its node).
  Communicator split_node() const;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  MPI_Comm get() const noexcept { return handle_.get(); }

  void barrier() const;
  /// Elementwise over the ranks, on host memory; every rank receives the same bits.
  void sum(std::span<double> values) const;
  void sum(std::span<std::int64_t> values) const;
  void max(std::span<double> values) const;
  void max(std::span<std::int64_t> values) const;
  void broadcast(std::span<std::byte> bytes, int root) const;
  void broadcast(std::string& text, int root) const;
  /// One text of each rank, in rank order, on every rank.
  std::vector<std::string> all_gather(std::string const& text) const;

private:
  explicit Communicator(MPI_Comm raw);

  UniqueHandle<CommTraits> handle_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace jreg::mpi
