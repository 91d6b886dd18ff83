#include "mesh/mesh.h"

#include <fmt/format.h>

#include "base/error.h"

namespace jreg::mesh {

Coordinates Coordinates::of(int world_rank, int world_size, int tensor_size) {
  expect(tensor_size >= 1 && world_size % tensor_size == 0, "the world is a whole number of tensor groups");
  return {.data = world_rank / tensor_size,
          .data_size = world_size / tensor_size,
          .tensor = world_rank % tensor_size,
          .tensor_size = tensor_size};
}

int kv_replicas(std::int64_t kv_heads, int tensor_size) {
  return kv_heads >= tensor_size ? 1 : static_cast<int>(tensor_size / kv_heads);
}

Mesh::Mesh(mpi::Communicator const& world, backend::Backend& backend, int tensor_size, std::int64_t kv_heads,
           bool sequence_parallel)
    : at_{Coordinates::of(world.rank(), world.size(), tensor_size)},
      // With one tensor rank both ways of splitting tokens are the same.
      sequence_parallel_{sequence_parallel && tensor_size > 1} {
  mpi::Communicator all = mpi::Communicator::duplicate(world.get());
  mpi::Communicator data = all.split(at_.tensor, at_.data);
  mpi::Communicator tensor = all.split(at_.data, at_.tensor);
  mpi::Communicator kv_replica = tensor.split(at_.tensor / kv_replicas(kv_heads, tensor_size), at_.tensor);
  groups_ = {.data = backend.connect(data.get()),
             .tensor = backend.connect(tensor.get()),
             .kv_replica = backend.connect(kv_replica.get()),
             .all = backend.connect(all.get())};
  communicators_.emplace(Communicators{std::move(all), std::move(data), std::move(tensor), std::move(kv_replica)});
}

Mesh::Mesh(Coordinates at, bool sequence_parallel, Groups groups)
    : at_{at}, sequence_parallel_{sequence_parallel && at.tensor_size > 1}, groups_{std::move(groups)} {
  expect_equal(data().size(), at.data_size, "ranks of the data group");
  expect_equal(tensor().size(), at.tensor_size, "ranks of the tensor group");
  expect_equal(all().size(), at.data_size * at.tensor_size, "ranks of the mesh");
}

mpi::Communicator const& Mesh::world() const {
  expect(communicators_.has_value(), "what needs MPI works on a mesh that has it");
  return communicators_->world;
}

std::array<GroupTraffic, 4> Mesh::traffic() const {
  return {GroupTraffic{"data", data().traffic()}, GroupTraffic{"tensor", tensor().traffic()},
          GroupTraffic{"key/value replicas", kv_replica().traffic()}, GroupTraffic{"all", all().traffic()}};
}

std::string Mesh::description() const {
  return fmt::format("data {} x tensor {}{}", at_.data_size, at_.tensor_size,
                     sequence_parallel_ ? ", sequence parallel" : "");
}

}  // namespace jreg::mesh
