#include <algorithm>
#include <cmath>

#include "backend/backend_test.h"
#include "oracle/norm.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class Norm : public BackendTest {
protected:
  static constexpr double eps = 1e-5;

  /// The three rows of h against previous, from the values as stored.
  struct Rows {
    GuardedTensor norm;
    GuardedTensor displacement;
    GuardedTensor update_norm;
    AngularRows args() const { return {norm, displacement, update_norm}; }
  };
  Rows rows(std::int64_t tokens) {
    return {output(DType::f32, 1, tokens), output(DType::f32, 1, tokens), output(DType::f32, 1, tokens)};
  }
  /// Psi of h against previous as the backend computes it.
  Real displacement_of(Real const& previous, Real const& h) {
    Rows const angular = rows(h.rows);
    ResidualNorm args;
    auto const hidden = upload(h);
    auto const before = upload(previous);
    auto const before_norm = upload(oracle::norms(previous), DType::f32);
    args.residual = hidden;
    args.angular = angular.args();
    args.previous = before;
    args.previous_norm = before_norm;
    ops().residual_norm(args);
    return angular.displacement.values();
  }
  /// The whole operation on random rows; aligned: rows begin at multiples of 8 elements.
  void check(std::int64_t tokens, std::int64_t width, bool aligned);
};

Real plus(Real const& a, Real const& b) {
  Real result = a;
  for (std::size_t i = 0; i < a.values.size(); ++i) result.values[i] += b.values[i];
  return result;
}

constexpr std::int64_t shapes[][2] = {{1, 20}, {7, 2}, {65, 64}, {130, 20}, {3, 513}};

void Norm::check(std::int64_t tokens, std::int64_t width, bool aligned) {
  SCOPED_TRACE(fmt::format("{} tokens of {}", tokens, width));
  // Sums in fp32, one addend after another, lose digits with their length.
  double const sum_tolerance = 2e-6 * std::max(1.0, static_cast<double>(width) / 1024);
  Real const residual = random("residual", tokens, width);
  Real const delta = random("delta", tokens, width, 0.3);
  Real const gain = random("gain", 1, width);
  Real const previous = random("previous", tokens, width);
  Real const h = rounded(plus(residual, delta));
  auto const expected = oracle::rms_norm(h, gain, eps);

  auto const in = upload(residual, aligned ? 8 : 3);
  auto const change = upload(delta);
  auto const scale = upload(gain);
  auto const before = upload(previous, aligned ? 16 : 1);
  auto const before_norm = upload(oracle::norms(previous), DType::f32);
  auto const hidden = output(tokens, width, aligned ? 24 : 2);
  auto const normed = output(tokens, width);
  auto const rstd = output(DType::f32, 1, tokens);
  Rows const angular = rows(tokens);
  ops().residual_norm({.residual = in,
                       .delta = change,
                       .hidden = hidden,
                       .gain = scale,
                       .rstd = rstd,
                       .normed = normed,
                       .eps = static_cast<float>(eps),
                       .angular = angular.args(),
                       .previous = before,
                       .previous_norm = before_norm});
  EXPECT_EQ(hidden.values().values, h.values);
  EXPECT_LT(relative_error(normed.values(), expected.normed), tolerance());
  EXPECT_LT(relative_error(rstd.values(), expected.rstd), sum_tolerance);
  EXPECT_LT(relative_error(angular.norm.values(), oracle::norms(h)), sum_tolerance);
  EXPECT_LT(relative_error(angular.displacement.values(), oracle::displacements(previous, h)), sum_tolerance);
  EXPECT_LT(relative_error(angular.update_norm.values(), oracle::norms(oracle::difference(h, previous))),
            sum_tolerance);
  for (auto const* tensor : {&hidden, &normed, &rstd, &angular.norm, &angular.displacement, &angular.update_norm}) {
    EXPECT_TRUE(tensor->guards_intact());
  }
}

TEST_P(Norm, ResidualNormMatchesOracle) {
  for (auto const& [tokens, width] : shapes) check(tokens, width, false);
}

TEST_P(Norm, LongRowsMatchOracle) {
  for (std::int64_t const width : row_widths) check(5, width, true);
}

TEST_P(Norm, ManyRowsMatchOracle) {
  check(801, 24, true);
}

TEST_P(Norm, WithoutDeltaHiddenIsUntouched) {
  Real const h = random("h", 7, 20);
  Real const gain = random("gain", 1, 20);
  auto const in = upload(h);
  auto const scale = upload(gain);
  auto const hidden = output(7, 20);
  auto const normed = output(7, 20);
  auto const rstd = output(DType::f32, 1, 7);
  ops().residual_norm({.residual = in,
                       .delta = {},
                       .hidden = hidden,
                       .gain = scale,
                       .rstd = rstd,
                       .normed = normed,
                       .eps = static_cast<float>(eps),
                       .angular = {},
                       .previous = {},
                       .previous_norm = {}});
  EXPECT_LT(relative_error(normed.values(), oracle::rms_norm(h, gain, eps).normed), tolerance());
  for (double const value : hidden.values().values) EXPECT_TRUE(std::isnan(value));
}

TEST_P(Norm, WithoutGainOnlyHiddenAndItsNormAreWritten) {
  Real const residual = random("residual", 5, 20);
  Real const delta = random("delta", 5, 20);
  auto const inout = upload(residual);
  auto const change = upload(delta);
  Rows const angular = rows(5);
  // In place, and with no state before it, as for h_0.
  ops().residual_norm({.residual = inout,
                       .delta = change,
                       .hidden = inout,
                       .gain = {},
                       .rstd = {},
                       .normed = {},
                       .eps = 0,
                       .angular = {.norm = angular.norm, .displacement = {}, .update_norm = {}},
                       .previous = {},
                       .previous_norm = {}});
  Real const h = rounded(plus(residual, delta));
  EXPECT_EQ(inout.values().values, h.values);
  EXPECT_LT(relative_error(angular.norm.values(), oracle::norms(h)), 2e-6);
  for (double const value : angular.displacement.values().values) EXPECT_TRUE(std::isnan(value));
}

TEST_P(Norm, NormAgainRepeatsTheNormToTheBit) {
  for (std::int64_t const width : {20, 264, 4104}) {
    auto const in = upload(random("h", 9, width));
    auto const gain = upload(random("gain", 1, width));
    auto const normed = output(9, width);
    auto const again = output(9, width, width == 20 ? 3 : 8);
    auto const rstd = output(DType::f32, 1, 9);
    ops().residual_norm({.residual = in,
                         .delta = {},
                         .hidden = {},
                         .gain = gain,
                         .rstd = rstd,
                         .normed = normed,
                         .eps = static_cast<float>(eps),
                         .angular = {},
                         .previous = {},
                         .previous_norm = {}});
    ops().norm_again(in, gain, rstd, again);
    EXPECT_EQ(again.bytes(), normed.bytes());
    EXPECT_TRUE(again.guards_intact());
  }
}

TEST_P(Norm, DisplacementKeepsItsDigitsNearParallel) {
  std::int64_t const width = 512;
  // bf16 holds no angle of 1e-4 but where single elements move by a rounding step.
  Real const a = random("a", 33, width);
  Real b = a;
  Real const turn = random("turn", 33, width, type() == DType::f32 ? 1e-4 : 4e-3);
  b = rounded(plus(a, turn));
  Real const expected = oracle::displacements(a, b);
  Real const psi = displacement_of(a, b);
  for (std::int64_t t = 0; t < 33; ++t) {
    EXPECT_GT(expected(0, t), 0);
    EXPECT_NEAR(psi(0, t) / expected(0, t), 1, 1e-4) << expected(0, t);
  }
}

TEST_P(Norm, DisplacementIsExactAtItsEnds) {
  Real const a = random("a", 5, 20);
  Real opposite = a;
  for (double& value : opposite.values) value = -value;
  for (double const psi : displacement_of(a, a).values) EXPECT_EQ(psi, 0);
  for (double const psi : displacement_of(a, opposite).values) {
    EXPECT_NEAR(psi, 1, 1e-6);
    EXPECT_LE(psi, 1);
  }
}

TEST_P(Norm, ZeroVectorsHaveNoDisplacement) {
  Real const a = random("a", 3, 20);
  Real const none(3, 20);
  for (auto const& [previous, h] : {std::pair{a, none}, std::pair{none, a}, std::pair{none, none}}) {
    for (double const psi : displacement_of(previous, h).values) EXPECT_EQ(psi, 0);
  }
}

TEST_P(Norm, NanInHiddenReachesEveryResult) {
  Real h = random("h", 2, 20);
  h(1, 19) = std::nan("");
  Real const psi = displacement_of(random("previous", 2, 20), h);
  EXPECT_FALSE(std::isnan(psi(0, 0)));
  EXPECT_TRUE(std::isnan(psi(0, 1)));
}

JREG_FOR_TYPES(Norm, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
