#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "mpi/communicator.h"

namespace jreg::mesh {

/// Where a rank stands: world rank = data * tensor_size + tensor, so tensor neighbours are neighbours on a node.
struct Coordinates {
  int data = 0;
  int data_size = 1;
  int tensor = 0;
  int tensor_size = 1;

  static Coordinates of(int world_rank, int world_size, int tensor_size);
};

/// How many tensor ranks hold the same key/value heads (1 unless there are fewer heads than tensor ranks).
int kv_replicas(std::int64_t kv_heads, int tensor_size);

/// The groups that a rank belongs to; see Mesh.
struct Groups {
  std::unique_ptr<backend::Collective> data;
  std::unique_ptr<backend::Collective> tensor;
  std::unique_ptr<backend::Collective> kv_replica;
  std::unique_ptr<backend::Collective> all;
};

/// What has travelled in one group.
struct GroupTraffic {
  char const* group;
  backend::TrafficCounts counts;
};

/// The ranks as a (data, tensor) grid, and the groups that collectives run over. Owns all communicators.
class Mesh {
public:
  /// Collective over `world`, whose size is a multiple of `tensor_size`.
  Mesh(mpi::Communicator const& world, backend::Backend& backend, int tensor_size, std::int64_t kv_heads,
       bool sequence_parallel);
  /// A rank of a mesh that need not exist: without MPI, over `groups` of the sizes that `at` tells.
  Mesh(Coordinates at, bool sequence_parallel, Groups groups);

  Coordinates const& at() const noexcept { return at_; }
  bool sequence_parallel() const noexcept { return sequence_parallel_; }
  /// Not of a mesh without MPI.
  mpi::Communicator const& world() const;

  /// Ranks that hold the same slices of the weights and see different sequences.
  backend::Collective& data() const noexcept { return *groups_.data; }
  /// Ranks that share one copy of the weights and see the same sequences.
  backend::Collective& tensor() const noexcept { return *groups_.tensor; }
  /// Tensor ranks that hold the same key/value heads.
  backend::Collective& kv_replica() const noexcept { return *groups_.kv_replica; }
  /// Every rank.
  backend::Collective& all() const noexcept { return *groups_.all; }
  /// Ranks whose hidden states belong to different tokens: what sums over tokens travel over.
  backend::Collective& tokens() const noexcept { return sequence_parallel_ ? all() : data(); }

  /// What this rank has sent in each group so far.
  std::array<GroupTraffic, 4> traffic() const;

  /// "data 2 x tensor 4, sequence parallel"
  std::string description() const;

private:
  Coordinates at_;
  bool sequence_parallel_;
  struct Communicators {
    mpi::Communicator world;
    mpi::Communicator data;
    mpi::Communicator tensor;
    mpi::Communicator kv_replica;
  };
  std::optional<Communicators> communicators_;  // none without MPI
  Groups groups_;
};

}  // namespace jreg::mesh
