#include "jump/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "backend/ops.h"
#include "base/error.h"

namespace jreg::jump {
namespace {

/// One token's part of a row of sums.
struct Token {
  double displacement;
  double relative_update;
  double norm;
};

std::vector<double> row_of(std::vector<Token> const& tokens) {
  std::vector<double> row(backend::angular_sums, 0.0);
  for (Token const& token : tokens) {
    row[backend::sum_displacement] += token.displacement;
    row[backend::sum_displacement_squared] += token.displacement * token.displacement;
    row[backend::sum_angle] += std::acos(1 - 2 * token.displacement) / std::numbers::pi;
    row[backend::sum_relative_update] += token.relative_update;
    row[backend::sum_norm] += token.norm;
    row[backend::sum_count] += 1;
  }
  return row;
}

std::vector<double> joined(std::vector<std::vector<double>> const& rows) {
  std::vector<double> all;
  for (auto const& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

TEST(JumpStatistics, AreMeansOverTheTokensOfTheSums) {
  auto const sums = joined({row_of({{0, 0, 2}, {0, 0, 4}}),          // h_0
                            row_of({{0, 0.5, 3}, {0.5, 1.5, 5}}),    // cosines 1 and 0
                            row_of({{1, 2, 1}, {0.25, 0.25, 2}})});  // cosines -1 and 0.5
  JumpStatistics const got = statistics_of(sums, 2);
  EXPECT_EQ(got.hidden_norm, (std::vector<double>{3, 4, 1.5}));
  EXPECT_EQ(got.displacement, (std::vector<double>{0.25, 0.625}));
  EXPECT_EQ(got.relative_update, (std::vector<double>{1, 1.125}));
  ASSERT_EQ(got.angle.size(), 2U);
  EXPECT_NEAR(got.angle[0], 0.25, 1e-15);  // angles 0 and 1/2
  EXPECT_NEAR(got.angle[1], (1 + 1.0 / 3) / 2, 1e-15);
  ASSERT_EQ(got.cosine_std.size(), 2U);
  EXPECT_NEAR(got.cosine_std[0], 0.5, 1e-15);   // of {1, 0}
  EXPECT_NEAR(got.cosine_std[1], 0.75, 1e-15);  // of {-1, 0.5}
  ASSERT_EQ(got.jump_rate.size(), 2U);
  EXPECT_TRUE(std::isnan(got.jump_rate[0]));
  EXPECT_NEAR(got.jump_rate[1], 37.5, 1e-12);
}

TEST(JumpStatistics, RefuseSumsOfAnotherShapeOrWithoutTokens) {
  auto const row = row_of({{0.1, 0.1, 1}});
  EXPECT_THROW(statistics_of(joined({row, row}), 2), InternalError);
  EXPECT_THROW(statistics_of(std::vector<double>(3 * backend::angular_sums, 0.0), 2), InternalError);
}

TEST(JumpStatistics, OfEqualTokensHaveNoSpread) {
  auto const row = row_of(std::vector<Token>(1000, Token{0.1, 0.3, 1.7}));
  EXPECT_NEAR(statistics_of(joined({row, row, row}), 2).cosine_std[1], 0, 1e-6);
  EXPECT_FALSE(std::isnan(statistics_of(joined({row, row, row}), 2).cosine_std[1]));
}

TEST(JumpRate, SumsTheRisesFromItsLayerOn) {
  std::vector<double> const rate = jump_rate(std::vector<double>{0.5, 0.1, 0.2, 0.15, 0.4});
  ASSERT_EQ(rate.size(), 5U);
  EXPECT_TRUE(std::isnan(rate[0]));
  EXPECT_NEAR(rate[1], 35, 1e-12);  // 0 + 0.1 + 0 + 0.25
  EXPECT_NEAR(rate[2], 35, 1e-12);
  EXPECT_NEAR(rate[3], 25, 1e-12);
  EXPECT_NEAR(rate[4], 25, 1e-12);
}

TEST(JumpRate, OfAFallingSeriesIsZero) {
  std::vector<double> const rate = jump_rate(std::vector<double>{0.5, 0.4, 0.4, 0.1});
  for (std::size_t i = 1; i < rate.size(); ++i) EXPECT_EQ(rate[i], 0);
}

TEST(JumpRate, KeepsWhatIsNotANumber) {
  double const nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> const rate = jump_rate(std::vector<double>{0.1, nan, 0.2, 0.3});
  EXPECT_TRUE(std::isnan(rate[1]));
  EXPECT_TRUE(std::isnan(rate[2]));
  EXPECT_NEAR(rate[3], 10, 1e-12);
}

}  // namespace
}  // namespace jreg::jump
