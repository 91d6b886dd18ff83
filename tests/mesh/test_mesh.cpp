#include <gtest/gtest.h>

#include "mesh/mesh.h"

namespace jreg::mesh {
namespace {

TEST(Coordinates, PutTensorRanksSideBySide) {
  Coordinates const at = Coordinates::of(5, 8, 2);
  EXPECT_EQ(at.data, 2);
  EXPECT_EQ(at.data_size, 4);
  EXPECT_EQ(at.tensor, 1);
  EXPECT_THROW(Coordinates::of(0, 6, 4), InternalError);
}

TEST(Mesh, GroupsSumOverTheRanksTheyName) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  auto const backend = backend::make_backend("cpu", 0);
  for (int tensor = 1; tensor <= world.size(); tensor *= 2) {
    Mesh const mesh{world, *backend, tensor, 1, true};
    auto const sum_over = [&](backend::Collective& group) {
      double value = world.rank();
      group.all_reduce(backend::Tensor{&value, DType::f64, 1, 1}, backend::Reduction::sum);
      return value;
    };
    double data = 0;
    double neighbours = 0;
    double all = 0;
    for (int rank = 0; rank < world.size(); ++rank) {
      all += rank;
      if (rank / tensor == mesh.at().data) neighbours += rank;
      if (rank % tensor == mesh.at().tensor) data += rank;
    }
    EXPECT_EQ(sum_over(mesh.data()), data);
    EXPECT_EQ(sum_over(mesh.tensor()), neighbours);
    EXPECT_EQ(sum_over(mesh.kv_replica()), neighbours) << "one key/value head is on every tensor rank";
    EXPECT_EQ(sum_over(mesh.all()), all);
  }
}

}  // namespace
}  // namespace jreg::mesh
