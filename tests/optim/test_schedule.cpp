#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace jreg::optim {
namespace {

config::OptimConfig rates(char const* schedule, std::int64_t warmup, std::int64_t decay = 0) {
  config::OptimConfig config;
  config.schedule = schedule;
  config.learning_rate = 1.0;
  config.min_learning_rate = 0.1;
  config.warmup_steps = warmup;
  config.decay_steps = decay;
  return config;
}

TEST(Schedule, RisesOnALineAndReachesThePeakWithTheLastWarmUpUpdate) {
  for (auto const* shape : {"cosine", "linear", "wsd", "constant"}) {
    Schedule const schedule{rates(shape, 4), 100};
    EXPECT_EQ(schedule.at(0), 0.25) << shape;
    EXPECT_EQ(schedule.at(1), 0.5) << shape;
    EXPECT_EQ(schedule.at(3), 1.0) << shape;
  }
}

TEST(Schedule, CosineFallsToTheMinimumAtTheLastUpdate) {
  Schedule const schedule{rates("cosine", 4), 104};  // 100 updates after the peak at update 3
  EXPECT_NEAR(schedule.at(53), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(28), 0.1 + 0.45 * (1 + std::cos(std::numbers::pi / 4)), 1e-12);
  EXPECT_EQ(schedule.at(103), 0.1);
  EXPECT_EQ(schedule.at(1000), 0.1);
  for (std::int64_t step = 4; step < 104; ++step) EXPECT_LT(schedule.at(step), schedule.at(step - 1));
}

TEST(Schedule, LinearFallsOnALine) {
  Schedule const schedule{rates("linear", 4), 104};
  EXPECT_NEAR(schedule.at(4), 0.991, 1e-12);
  EXPECT_NEAR(schedule.at(53), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(103), 0.1, 1e-12);
}

TEST(Schedule, WsdIsConstantUntilItsDecay) {
  Schedule const schedule{rates("wsd", 4, 10), 100};
  for (std::int64_t step = 3; step < 90; ++step) EXPECT_EQ(schedule.at(step), 1.0) << step;
  EXPECT_NEAR(schedule.at(90), 0.91, 1e-12);
  EXPECT_NEAR(schedule.at(94), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(99), 0.1, 1e-12);
}

TEST(Schedule, WsdDecaysOverATenthByDefault) {
  Schedule const schedule{rates("wsd", 0), 200};
  EXPECT_EQ(schedule.at(179), 1.0);
  EXPECT_NEAR(schedule.at(180), 0.955, 1e-12);
  EXPECT_NEAR(schedule.at(199), 0.1, 1e-12);
}

TEST(Schedule, WsdDecayNeverCutsIntoTheWarmUp) {
  Schedule const schedule{rates("wsd", 8, 10), 10};
  EXPECT_EQ(schedule.at(7), 1.0);
  EXPECT_NEAR(schedule.at(8), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(9), 0.1, 1e-12);
}

TEST(Schedule, ConstantStaysAtThePeak) {
  Schedule const schedule{rates("constant", 2), 10};
  for (std::int64_t step = 1; step < 12; ++step) EXPECT_EQ(schedule.at(step), 1.0);
}

TEST(Schedule, StartsAtThePeakWithoutWarmUp) {
  for (auto const* shape : {"cosine", "linear", "wsd", "constant"}) {
    EXPECT_EQ(Schedule(rates(shape, 0), 50).at(0), 1.0) << shape;
    EXPECT_EQ(Schedule(rates(shape, 1), 50).at(0), 1.0) << shape;
  }
  EXPECT_NEAR(Schedule(rates("linear", 0), 11).at(5), 0.55, 1e-12);
}

TEST(Schedule, OfOneUpdateOrNoneHasThePeak) {
  for (auto const* shape : {"cosine", "linear", "wsd", "constant"}) {
    EXPECT_EQ(Schedule(rates(shape, 0), 1).at(0), 1.0) << shape;
    EXPECT_EQ(Schedule(rates(shape, 0), 0).at(0), 1.0) << shape;
  }
}

TEST(Schedule, ThatEndsInItsWarmUpNeverReachesThePeak) {
  for (auto const* shape : {"cosine", "linear", "wsd", "constant"}) {
    Schedule const schedule{rates(shape, 100), 10};
    EXPECT_EQ(schedule.at(9), 0.1) << shape;
    EXPECT_EQ(schedule.at(50), 0.1) << shape;
    EXPECT_EQ(Schedule(rates(shape, 10), 10).at(9), 1.0) << shape;
  }
}

TEST(Schedule, RefusesUpdatesBeforeTheFirst) {
  EXPECT_THROW(Schedule(rates("cosine", 0), 10).at(-1), InternalError);
}

}  // namespace
}  // namespace jreg::optim
