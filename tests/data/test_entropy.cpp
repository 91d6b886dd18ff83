#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "data/entropy.h"

namespace jreg::data {
namespace {

TEST(UnigramEntropy, OfEqualCountsIsTheLogarithmOfTheirNumber) {
  EXPECT_NEAR(unigram_entropy(std::vector<std::int64_t>(100, 7)), std::log(100.0), 1e-12);
}

TEST(UnigramEntropy, OfUnequalCountsIsInNats) {
  // shares 1/2, 1/4, 1/4
  EXPECT_NEAR(unigram_entropy(std::vector<std::int64_t>{2, 0, 1, 1}), 1.5 * std::log(2.0), 1e-12);
}

TEST(UnigramEntropy, OfOneTokenOrNoneIsZero) {
  EXPECT_EQ(unigram_entropy(std::vector<std::int64_t>{0, 9}), 0.0);
  EXPECT_EQ(unigram_entropy(std::vector<std::int64_t>{0, 0}), 0.0);
}

}  // namespace
}  // namespace jreg::data
