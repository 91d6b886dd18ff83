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
      sequence_parallel_{sequence_parallel && tensor_size > 1},
      world_{mpi::Communicator::duplicate(world.get())},
      data_comm_{world_.split(at_.tensor, at_.data)},
      tensor_comm_{world_.split(at_.data, at_.tensor)},
      kv_comm_{tensor_comm_.split(at_.tensor / kv_replicas(kv_heads, tensor_size), at_.tensor)},
      data_{backend.connect(data_comm_.get())},
      tensor_{backend.connect(tensor_comm_.get())},
      kv_{backend.connect(kv_comm_.get())},
      all_{backend.connect(world_.get())} {}

std::string Mesh::description() const {
  return fmt::format("data {} x tensor {}{}", at_.data_size, at_.tensor_size,
                     sequence_parallel_ ? ", sequence parallel" : "");
}

}  // namespace jreg::mesh
