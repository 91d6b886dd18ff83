#include <gtest/gtest.h>

#include "base/error.h"
#include "store/rows.h"
#include "store/trajectory.h"

namespace jreg::store {
namespace {

TEST(Trajectory, KeepsRowsByName) {
  Trajectory const trajectory = test::make_trajectory(12, 3);
  EXPECT_EQ(trajectory.train().rows(), 12);
  EXPECT_EQ(trajectory.train().last_step(), 12);
  EXPECT_EQ(trajectory.validation().rows(), 2);
  EXPECT_EQ(trajectory.probe().rows(), 4);
  EXPECT_EQ(trajectory.train().integers("tokens", 4)[0], 5 * 2048);
  EXPECT_EQ(trajectory.train().reals("hidden_norm", 0).size(), 4U);
  EXPECT_EQ(trajectory.probe().integers("displacement_histogram", 1)[70], 4 + 70);
}

TEST(Trajectory, RefusesStepsThatDoNotRise) {
  Trajectory trajectory{2};
  trajectory.append(test::train_row(5, 2));
  EXPECT_THROW(trajectory.append(test::train_row(5, 2)), InternalError);
  EXPECT_THROW(trajectory.append(test::train_row(4, 2)), InternalError);
  EXPECT_THROW(trajectory.append(test::validation_row(-1)), InternalError);
  EXPECT_NO_THROW(trajectory.append(test::validation_row(0)));
  EXPECT_EQ(trajectory.train().rows(), 1);
}

TEST(Trajectory, RefusesRowsOfAnotherNumberOfLayersAndKeepsNothingOfThem) {
  Trajectory trajectory{2};
  EXPECT_THROW(trajectory.append(test::train_row(1, 3)), InternalError);
  TrainRow row = test::train_row(1, 2);
  row.hidden_norm.pop_back();
  EXPECT_THROW(trajectory.append(row), InternalError);
  EXPECT_EQ(trajectory.train().rows(), 0);
  EXPECT_EQ(std::get<std::span<double const>>(trajectory.train().whole(2)).size(), 0U);
}

}  // namespace
}  // namespace jreg::store
