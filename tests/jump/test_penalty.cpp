#include "jump/penalty.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/error.h"

namespace jreg::jump {
namespace {

using Gates = std::vector<std::int8_t>;

config::JregConfig penalty_config(char const* penalty, char const* weights, double lambda = 1,
                                  std::int64_t warmup = 0) {
  config::JregConfig config;
  config.penalty = penalty;
  config.weights = weights;
  config.lambda = lambda;
  config.warmup_steps = warmup;
  return config;
}

JumpStatistics at(std::vector<double> psi) {
  JumpStatistics statistics;
  statistics.displacement = std::move(psi);
  return statistics;
}

/// dR/dPsi by central differences.
std::vector<double> slopes(Penalty const& penalty, std::vector<double> const& psi) {
  double const h = 1e-6;
  std::vector<double> result;
  for (std::size_t i = 0; i < psi.size(); ++i) {
    auto up = psi;
    auto down = psi;
    up[i] += h;
    down[i] -= h;
    result.push_back((penalty.value(at(up)) - penalty.value(at(down))) / (2 * h));
  }
  return result;
}

TEST(Penalty, OfDisplacementIsTheWeightedSum) {
  Penalty const penalty{penalty_config("displacement", "linear", 2), 4};
  auto const psi = at({0.1, 0.2, 0.1, 0.5});
  EXPECT_NEAR(penalty.value(psi), 0.01 + 0.04 + 0.03 + 0.2, 1e-15);
  auto const g = penalty.coefficients(0, 8);
  ASSERT_EQ(g.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(g[i], 2 * 0.1 * static_cast<double>(i + 1) / 8, 1e-16);
}

TEST(Penalty, OfJumpIsTheWeightedSumOfRises) {
  Penalty const penalty{penalty_config("jump", "1,2,3,5"), 4};
  EXPECT_NEAR(penalty.value(at({0.9, 0.2, 0.3, 0.5})), 0.3 * 0.1 + 0.5 * 0.2, 1e-15);
  EXPECT_EQ(penalty.value(at({0.9, 0.8, 0.7, 0.6})), 0);
}

TEST(Penalty, CoefficientsAreTheSlopesOfItsValue) {
  std::vector<double> const psi{0.3, 0.1, 0.15, 0.4, 0.35, 0.6};
  for (auto const* kind : {"displacement", "jump"}) {
    for (auto const* weights : {"linear", "uniform", "final", "power:2", "geometric:0.7", "3,1,4,1,5,9"}) {
      Penalty penalty{penalty_config(kind, weights, 0.5), 6};
      penalty.observe(at(psi));
      auto const g = penalty.coefficients(3, 20);
      auto const wanted = slopes(penalty, psi);
      for (std::size_t i = 0; i < psi.size(); ++i) {
        EXPECT_NEAR(g[i], 0.5 * wanted[i] / 20, 1e-10) << kind << " " << weights << " layer " << i + 1;
      }
    }
  }
}

TEST(Penalty, GatesOfJumpComeFromThePreviousUpdate) {
  Penalty penalty{penalty_config("jump", "0,1,1,2"), 4};
  EXPECT_EQ(penalty.gates(), (Gates{0, 0, 0, 0}));
  EXPECT_EQ(penalty.coefficients(0, 1), (std::vector<double>{0, 0, 0, 0}));
  penalty.observe(at({0.5, 0.1, 0.3, 0.6}));
  EXPECT_EQ(penalty.gates(), (Gates{0, 0, 1, 1}));
  EXPECT_EQ(penalty.coefficients(1, 1), (std::vector<double>{0, -0.25, 0.25 - 0.5, 0.5}));
  penalty.observe(at({0.1, 0.2, 0.2, 0.1}));  // an equal Psi is no rise
  EXPECT_EQ(penalty.gates(), (Gates{0, 1, 0, 0}));
  EXPECT_EQ(penalty.coefficients(2, 1), (std::vector<double>{-0.25, 0.25, 0, 0}));
}

TEST(Penalty, ValueDoesNotDependOnTheGates) {
  Penalty penalty{penalty_config("jump", "uniform"), 3};
  auto const psi = at({0.1, 0.2, 0.4});
  double const before = penalty.value(psi);
  penalty.set_gates({0, 0, 1});
  EXPECT_EQ(penalty.value(psi), before);
  EXPECT_NEAR(before, 0.15, 1e-15);
}

TEST(Penalty, GatesDoNotTouchDisplacement) {
  Penalty penalty{penalty_config("displacement", "uniform"), 2};
  auto const before = penalty.coefficients(0, 4);
  penalty.observe(at({0.1, 0.2}));
  EXPECT_EQ(penalty.coefficients(1, 4), before);
}

TEST(Penalty, KeepsItsGatesWhereAStatisticIsNotFinite) {
  Penalty penalty{penalty_config("jump", "uniform"), 3};
  penalty.set_gates({0, 1, 1});
  for (double const bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    penalty.observe(at({0.3, 0.2, bad}));
    EXPECT_EQ(penalty.gates(), (Gates{0, 1, 1}));
    EXPECT_FALSE(std::isfinite(penalty.value(at({0.3, 0.2, bad}))));
  }
}

TEST(Penalty, RefusesGatesThatAreNone) {
  Penalty penalty{penalty_config("jump", "uniform"), 3};
  EXPECT_THROW(penalty.set_gates({0, 1}), DataError);
  EXPECT_THROW(penalty.set_gates({0, 1, 2}), DataError);
  EXPECT_THROW(penalty.set_gates({1, 1, 1}), DataError);
  EXPECT_EQ(penalty.gates(), (Gates{0, 0, 0}));
}

TEST(Penalty, LambdaRisesOverTheWarmUp) {
  Penalty const penalty{penalty_config("displacement", "linear", 2, 4), 2};
  EXPECT_EQ(penalty.lambda(0), 0.5);
  EXPECT_EQ(penalty.lambda(1), 1.0);
  EXPECT_EQ(penalty.lambda(3), 2.0);
  EXPECT_EQ(penalty.lambda(1000), 2.0);
  EXPECT_TRUE(penalty.active(0));
  EXPECT_NEAR(penalty.coefficients(0, 1)[1], 0.5 * 2.0 / 3, 1e-16);
  EXPECT_EQ(Penalty(penalty_config("displacement", "linear", 2, 0), 2).lambda(0), 2.0);
  EXPECT_EQ(Penalty(penalty_config("displacement", "linear", 2, 1), 2).lambda(0), 2.0);
}

TEST(Penalty, IsOffWhereLambdaIsZero) {
  for (auto const* kind : {"displacement", "jump"}) {
    Penalty penalty{penalty_config(kind, "linear", 0, 10), 3};
    penalty.set_gates({0, 1, 1});
    EXPECT_FALSE(penalty.active(0));
    EXPECT_FALSE(penalty.active(100));
    EXPECT_TRUE(std::ranges::all_of(penalty.coefficients(5, 7), [](double g) { return g == 0; }));
  }
}

TEST(Penalty, RefusesWrongWeights) {
  EXPECT_THROW((Penalty{penalty_config("jump", "1,0,0"), 3}), UserError);
  EXPECT_THROW((Penalty{penalty_config("displacement", "steep"), 3}), UserError);
}

}  // namespace
}  // namespace jreg::jump
