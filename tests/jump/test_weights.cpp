#include "jump/weights.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"

namespace jreg::jump {
namespace {

void expect_near(std::vector<double> const& got, std::vector<double> const& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-15) << "layer " << i + 1;
}

std::string refusal(std::string const& shape, std::string const& penalty = "displacement", std::int64_t layers = 3) {
  try {
    depth_weights(shape, penalty, layers);
  } catch (UserError const& error) {
    return error.what();
  }
  return "accepted";
}

TEST(DepthWeights, FollowTheirShapes) {
  expect_near(depth_weights("linear", "displacement", 4), {0.1, 0.2, 0.3, 0.4});
  expect_near(depth_weights("uniform", "displacement", 4), {0.25, 0.25, 0.25, 0.25});
  expect_near(depth_weights("final", "displacement", 4), {0, 0, 0, 1});
  expect_near(depth_weights("power:2", "displacement", 4), {1.0 / 30, 4.0 / 30, 9.0 / 30, 16.0 / 30});
  expect_near(depth_weights("geometric:0.5", "displacement", 4), {1.0 / 15, 2.0 / 15, 4.0 / 15, 8.0 / 15});
  expect_near(depth_weights("1, 0,2.5e0 ,.5", "displacement", 4), {0.25, 0, 0.625, 0.125});
}

TEST(DepthWeights, OfPowerOneAndZeroAreLinearAndUniform) {
  expect_near(depth_weights("power:1", "displacement", 7), depth_weights("linear", "displacement", 7));
  expect_near(depth_weights("power:0", "displacement", 7), depth_weights("uniform", "displacement", 7));
  expect_near(depth_weights("geometric:1", "displacement", 7), depth_weights("uniform", "displacement", 7));
}

TEST(DepthWeights, OfTheJumpPenaltyStartAtLayerTwo) {
  expect_near(depth_weights("linear", "jump", 4), {0, 2.0 / 9, 3.0 / 9, 4.0 / 9});
  expect_near(depth_weights("uniform", "jump", 2), {0, 1});
  expect_near(depth_weights("5,1,3,0", "jump", 4), {0, 0.25, 0.75, 0});
}

TEST(DepthWeights, SumToOne) {
  for (auto const* shape : {"linear", "uniform", "final", "power:0.3", "power:-2", "geometric:0.9", "geometric:1.3"}) {
    for (auto const* penalty : {"displacement", "jump"}) {
      auto const weights = depth_weights(shape, penalty, 22);
      EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-14) << shape << " " << penalty;
    }
  }
}

TEST(DepthWeights, RefuseWhatIsNoShapeNamingKeyAndValue) {
  EXPECT_NE(refusal("lineal").find("jreg.weights = lineal: must be linear, uniform"), std::string::npos);
  for (auto const* shape :
       {"", "power", "power:", "power:x", "power:nan", "power:inf", "geometric:", "geometric:1 2", "Linear", "linear ",
        "1,2", "1,2,3,4", "1,2,", ",1,2", "1,x,3", "1,nan,3", "1,inf,3", "3"}) {
    EXPECT_EQ(refusal(shape).rfind(std::string{"jreg.weights = "} + shape + ":", 0), 0U)
        << shape << ": " << refusal(shape);
  }
  EXPECT_NE(refusal("1,2").find("2 numbers, but model.layers = 3"), std::string::npos);
}

TEST(DepthWeights, RefuseNegativeInfiniteAndZeroSums) {
  EXPECT_NE(refusal("1,-2,3").find("layer 2 is -2"), std::string::npos);
  EXPECT_NE(refusal("geometric:-0.5").find("layer 2 is -0.5"), std::string::npos);
  EXPECT_NE(refusal("power:-1e6").find("layer 1 is inf"), std::string::npos);
  EXPECT_NE(refusal("0,0,0").find("layers 1 to 3 sum to 0"), std::string::npos);
  EXPECT_NE(refusal("1,0,0", "jump").find("layers 2 to 3 sum to 0"), std::string::npos);
  EXPECT_EQ(refusal("1,0,0"), "accepted");
  EXPECT_NE(refusal("1e308,1e308,1e308").find("sum to inf"), std::string::npos);
}

TEST(DepthWeights, RefuseASingleLayer) {
  EXPECT_NE(refusal("linear", "displacement", 1).find("model.layers = 1"), std::string::npos);
  EXPECT_NE(refusal("linear", "jump", 1).find("model.layers = 1"), std::string::npos);
}

}  // namespace
}  // namespace jreg::jump
