#include <gtest/gtest.h>

#include <array>

#include "mpi/communicator.h"

namespace jreg::mpi {
namespace {

TEST(Communicator, ReducesOverAllRanks) {
  auto const world = Communicator::duplicate(MPI_COMM_WORLD);
  std::array<double, 2> values{1.0, static_cast<double>(world.rank())};
  world.sum(values);
  EXPECT_EQ(values[0], world.size());
  EXPECT_EQ(values[1], world.size() * (world.size() - 1) / 2);
  std::array<std::int64_t, 1> largest{world.rank()};
  world.max(largest);
  EXPECT_EQ(largest[0], world.size() - 1);
}

TEST(Communicator, GathersTextsOfDifferentLengthInRankOrder) {
  auto const world = Communicator::duplicate(MPI_COMM_WORLD);
  std::string const mine(static_cast<std::size_t>(world.rank()), 'x');
  auto const all = world.all_gather(mine);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world.size()));
  for (std::size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], std::string(rank, 'x'));
}

TEST(Communicator, BroadcastsTextFromTheRoot) {
  auto const world = Communicator::duplicate(MPI_COMM_WORLD);
  std::string text = world.rank() == 0 ? "from the first" : "something longer that is replaced";
  world.broadcast(text, 0);
  EXPECT_EQ(text, "from the first");
}

TEST(Communicator, SplitsByColour) {
  auto const world = Communicator::duplicate(MPI_COMM_WORLD);
  auto const half = world.split(world.rank() % 2, -world.rank());
  EXPECT_EQ(half.size(), (world.size() + 1 - world.rank() % 2) / 2);
  std::array<std::int64_t, 1> highest{world.rank()};
  half.max(highest);
  if (half.rank() == 0) {
    EXPECT_EQ(highest[0], world.rank()) << "keys order the ranks";
  }
}

}  // namespace
}  // namespace jreg::mpi
