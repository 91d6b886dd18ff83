#include <cmath>
#include <numbers>

#include "backend/backend_test.h"
#include "oracle/norm.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class Statistics : public BackendTest {};

Real absolute(Real values) {
  for (double& value : values.values) value = std::abs(value);
  return values;
}

TEST_P(Statistics, AngularSumsMatchOracle) {
  for (std::int64_t const tokens : {1, 7, 2500}) {
    Real psi = absolute(random("psi", 1, tokens, 0.2));
    for (double& value : psi.values) value = std::min(value, 1.0);
    psi(0, 0) = tokens == 7 ? 0 : psi(0, 0);
    Real const norm = absolute(random("norm", 1, tokens, 10));
    Real const update = absolute(random("update", 1, tokens));
    Real previous = absolute(random("previous", 1, tokens, 10));
    if (tokens == 7) previous(0, 3) = 0;
    Real expected = oracle::random_matrix("before", 1, angular_sums);
    auto const sums = upload(expected, DType::f64);
    auto const rows_norm = upload(norm);
    auto const rows_psi = upload(psi);
    auto const rows_update = upload(update);
    ops().add_angular_sums({rows_norm, rows_psi, rows_update}, upload(previous), sums);
    for (std::int64_t t = 0; t < tokens; ++t) {
      expected(0, sum_displacement) += psi(0, t);
      expected(0, sum_displacement_squared) += psi(0, t) * psi(0, t);
      expected(0, sum_angle) += std::acos(1 - 2 * psi(0, t)) / std::numbers::pi;
      expected(0, sum_relative_update) += previous(0, t) < 1e-12 ? 0 : update(0, t) / previous(0, t);
      expected(0, sum_norm) += norm(0, t);
      expected(0, sum_count) += 1;
    }
    Real const found = sums.values();
    for (std::int64_t i = 0; i < angular_sums; ++i) {
      EXPECT_NEAR(found(0, i), expected(0, i), 1e-6 * std::abs(expected(0, i))) << i;
    }
    EXPECT_TRUE(sums.guards_intact());
  }
}

TEST_P(Statistics, FirstStateAddsNormAndCountOnly) {
  Real const norm = absolute(random("norm", 1, 65));
  auto const sums = upload(Real(1, angular_sums), DType::f64);
  auto const rows_norm = upload(norm);
  ops().add_angular_sums({rows_norm, {}, {}}, {}, sums);
  Real const found = sums.values();
  EXPECT_NEAR(found(0, sum_norm), oracle::total(norm), 1e-9);
  EXPECT_EQ(found(0, sum_count), 65);
  for (auto const i : {sum_displacement, sum_displacement_squared, sum_angle, sum_relative_update}) {
    EXPECT_EQ(found(0, i), 0);
  }
}

TEST_P(Statistics, SumsOfManyTokensKeepTheirDigits) {
  // In fp32 a sum of so many would stop growing.
  std::int64_t const tokens = 100000;
  Real psi(1, tokens);
  for (double& value : psi.values) value = static_cast<double>(1e-4F);
  auto const rows_psi = upload(psi);
  auto const sums = upload(Real(1, angular_sums), DType::f64);
  ops().add_angular_sums({rows_psi, rows_psi, rows_psi}, rows_psi, sums);
  double const expected = static_cast<double>(1e-4F) * static_cast<double>(tokens);
  EXPECT_NEAR(sums.values()(0, sum_displacement) / expected, 1, 1e-13);
}

TEST_P(Statistics, HistogramCountsEveryTokenOnce) {
  Real psi(1, 8);
  psi.values = {0, 0.0156, 0.0157, 0.5, 0.999, 1, std::nan(""), 0.25};
  Real expected(1, 64);
  expected(0, 5) = 3;
  auto const counts = upload(expected, DType::i64);
  ops().add_histogram(upload(psi), counts);
  for (std::int64_t const bin : {0, 0, 1, 32, 63, 63, 16}) expected(0, bin) += 1;
  EXPECT_EQ(counts.values().values, expected.values);
  EXPECT_TRUE(counts.guards_intact());
}

TEST_P(Statistics, HistogramOfManyTokens) {
  for (std::int64_t const bins : {1, 64, 5000}) {
    std::int64_t const tokens = 5001;
    Real psi(1, tokens);
    Real expected(1, bins);
    for (std::int64_t t = 0; t < tokens; ++t) {
      // The middle of a bin.
      std::int64_t const bin = (t * t + 3 * t) % bins;
      psi(0, t) = (static_cast<double>(bin) + 0.5) / static_cast<double>(bins);
      expected(0, bin) += 1;
    }
    auto const counts = upload(Real(1, bins), DType::i64);
    ops().add_histogram(upload(psi), counts);
    EXPECT_EQ(counts.values().values, expected.values);
    EXPECT_TRUE(counts.guards_intact());
  }
}

TEST_P(Statistics, SquaresOfAnyRangeAddUp) {
  Real const values = random("values", 1, 9000);
  auto const whole = upload(values);
  for (auto const& [begin, end] : {std::pair{1, 9000}, {4, 8999}, {3, 4}, {8, 8}}) {
    auto const sum = upload(Real(1, 1), DType::f64);
    ops().add_squares(whole.view().column_range(begin, end), sum);
    double expected = 0;
    for (std::int64_t i = begin; i < end; ++i) expected += values(0, i) * values(0, i);
    EXPECT_NEAR(sum.values()(0, 0), expected, 1e-12 * expected);
  }
}

TEST_P(Statistics, SquaresAddUpInDouble) {
  for (std::int64_t const count : {1, 65, 200001}) {
    Real const values = random("values", 1, count);
    Real before(1, 1);
    before(0, 0) = 3;
    auto const sum = upload(before, DType::f64);
    ops().add_squares(upload(values), sum);
    double expected = 3;
    for (double const value : values.values) expected += value * value;
    EXPECT_NEAR(sum.values()(0, 0) / expected, 1, 1e-12);
  }
}

TEST_P(Statistics, SquaresShowNanAndInfinity) {
  for (double const bad : {std::nan(""), static_cast<double>(INFINITY)}) {
    Real values = random("values", 1, 100);
    values(0, 61) = bad;
    auto const sum = upload(Real(1, 1), DType::f64);
    ops().add_squares(upload(values), sum);
    EXPECT_FALSE(std::isfinite(sum.values()(0, 0)));
  }
}

TEST_P(Statistics, SquaresDoNotDependOnThreads) {
  auto const values = upload(random("values", 1, 300000));
  auto sum = output(DType::f64, 1, 1);
  auto const call = [&] {
    sum.fill(Real(1, 1));
    ops().add_squares(values, sum);
  };
  EXPECT_TRUE(same_bits_twice(call, sum));
}

JREG_FOR_TYPES(Statistics, DType::f32);

}  // namespace
}  // namespace jreg::backend
