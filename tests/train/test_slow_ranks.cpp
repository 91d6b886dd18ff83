#include <gtest/gtest.h>

#include <vector>

#include "train/slow_ranks.h"

namespace jreg::train {
namespace {

using Ranks = std::vector<int>;

TEST(SlowRanks, TellsOfARankThatIsSlowForAWhileAndThenEverMoreRarely) {
  SlowRanks slow{4, 3};
  std::vector<int> told_at;
  for (int look = 1; look <= 30; ++look) {
    Ranks const told = slow.compare(std::vector{1.0, 1.1, 1.7, 0.9});
    if (!told.empty()) {
      EXPECT_EQ(told, Ranks{2});
      told_at.push_back(look);
    }
  }
  EXPECT_EQ(told_at, (std::vector{3, 6, 12, 24}));
}

TEST(SlowRanks, ForgetsARankThatWasSlowInPassing) {
  SlowRanks slow{2, 3};
  for (int look = 0; look < 20; ++look) {
    bool const hiccup = look % 3 != 0;
    EXPECT_TRUE(slow.compare(std::vector{1.0, hiccup ? 9.0 : 1.0}).empty());
  }
}

TEST(SlowRanks, FindsTheSlowOneOfTwo) {
  SlowRanks slow{2, 1};
  EXPECT_EQ(slow.compare(std::vector{1.6, 1.0}), Ranks{0});
  EXPECT_EQ(slow.compare(std::vector{1.0, 1.4}), Ranks{});
}

TEST(SlowRanks, AnswersNothingForOneRankAlone) {
  SlowRanks slow{1, 1};
  EXPECT_TRUE(slow.compare(std::vector{5.0}).empty());
}

}  // namespace
}  // namespace jreg::train
