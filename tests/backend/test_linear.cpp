#include "backend/backend_test.h"
#include "oracle/linear.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class Linear : public BackendTest {};

struct Sizes {
  std::int64_t tokens, in, out;
};
constexpr Sizes sizes[] = {{1, 20, 7}, {7, 2, 1}, {65, 20, 33}, {130, 64, 48}};

Real transposed(Real const& from) {
  Real result(from.columns, from.rows);
  for (std::int64_t i = 0; i < from.rows; ++i) {
    for (std::int64_t j = 0; j < from.columns; ++j) result(j, i) = from(i, j);
  }
  return result;
}

Real sum(Real const& a, Real const& b) {
  Real result = a;
  for (std::size_t i = 0; i < a.values.size(); ++i) result.values[i] += b.values[i];
  return result;
}

TEST_P(Linear, ForwardMatchesOracle) {
  for (auto const& [tokens, in, out] : sizes) {
    Real const x = random("x", tokens, in);
    Real const w = random("w", out, in);
    for (std::int64_t const gap : {0, 5}) {
      auto const y = output(tokens, out, gap);
      ops().linear(upload(x, gap), upload(w), y);
      EXPECT_LT(relative_error(y.values(), oracle::linear(x, w)), tolerance()) << tokens << " " << in << " " << out;
      EXPECT_TRUE(y.guards_intact());
    }
  }
}

TEST_P(Linear, ForwardGivesFp32FromAnyType) {
  Real const x = random("x", 65, 20);
  Real const w = random("w", 33, 20);
  auto const y = output(DType::f32, 65, 33);
  ops().linear(upload(x), upload(w), y);
  EXPECT_LT(relative_error(y.values(), oracle::linear(x, w)), 2e-6);
}

TEST_P(Linear, InputGradientMatchesOracle) {
  for (auto const& [tokens, in, out] : sizes) {
    Real const dy = random("dy", tokens, out);
    Real const w = random("w", out, in);
    Real const before = random("before", tokens, in);
    Real const product = oracle::linear(dy, transposed(w));
    for (std::int64_t const gap : {0, 3}) {
      auto const dx = output(tokens, in, gap);
      ops().linear_input_gradient(upload(dy, gap), upload(w), dx, false);
      EXPECT_LT(relative_error(dx.values(), product), tolerance());
      auto const added = upload(before, gap);
      ops().linear_input_gradient(upload(dy, gap), upload(w), added, true);
      EXPECT_LT(relative_error(added.values(), sum(before, product)), tolerance());
      EXPECT_TRUE(dx.guards_intact() && added.guards_intact());
    }
  }
}

TEST_P(Linear, WeightGradientAddsUpInFp32) {
  for (auto const& [tokens, in, out] : sizes) {
    Real const dy = random("dy", tokens, out);
    Real const x = random("x", tokens, in);
    Real const before = oracle::random_matrix("before", out, in);
    for (std::int64_t const gap : {0, 3}) {
      auto const dw = upload(before, DType::f32, gap);
      ops().linear_weight_gradient(upload(dy, gap), upload(x, gap), dw);
      EXPECT_LT(relative_error(dw.values(), sum(before, oracle::linear(transposed(dy), transposed(x)))), 2e-6);
      EXPECT_TRUE(dw.guards_intact());
    }
  }
}

TEST_P(Linear, ColumnViewsOfOneMatrixWork) {
  Real const x = random("x", 9, 24);
  Real const w = random("w", 10, 24);
  auto const whole_x = upload(x);
  auto const whole_w = upload(w);
  auto const y = output(9, 20);
  // y's middle columns from the middle columns of both factors.
  ops().linear(whole_x.view().column_range(3, 14), whole_w.view().row_range(1, 8).column_range(3, 14),
               y.view().column_range(5, 12));
  Real const result = y.values();
  for (std::int64_t t = 0; t < 9; ++t) {
    for (std::int64_t o = 0; o < 20; ++o) {
      double expected = 0;
      for (std::int64_t i = 3; i < 14; ++i) expected += o >= 5 && o < 12 ? x(t, i) * w(o - 4, i) : 0;
      if (o >= 5 && o < 12) {
        EXPECT_NEAR(result(t, o), expected, 10 * tolerance());
      } else {
        EXPECT_TRUE(std::isnan(result(t, o)));
      }
    }
  }
}

TEST_P(Linear, AddressesOfAnyAlignmentWork) {
  // Rows of 16 bytes and more, beginning at, and lying apart by, any number of elements.
  Real const x = random("x", 33, 64);
  Real const w = random("w", 24, 64);
  Real const dy = random("dy", 33, 24);
  Real const before = oracle::random_matrix("before", 24, 64);
  for (std::int64_t const offset : {0, 1, 2, 4, 8}) {
    for (std::int64_t const gap : {0, 1, 8}) {
      GuardedTensor x_there{backend(), type(), 33, 64, gap, offset};
      x_there.fill(x);
      GuardedTensor y{backend(), type(), 33, 24, gap, offset};
      ops().linear(x_there, upload(w), y);
      EXPECT_LT(relative_error(y.values(), oracle::linear(x, w)), tolerance()) << offset << " " << gap;
      GuardedTensor dw{backend(), DType::f32, 24, 64, gap, offset};
      dw.fill(before);
      ops().linear_weight_gradient(upload(dy), x_there, dw);
      EXPECT_LT(relative_error(dw.values(), sum(before, oracle::linear(transposed(dy), transposed(x)))), 2e-6);
      EXPECT_TRUE(y.guards_intact() && dw.guards_intact());
    }
  }
}

TEST_P(Linear, NoTokensGiveNothing) {
  auto const none = output(0, 5);
  ops().linear(upload(Real(0, 4)), upload(random("w", 5, 4)), none);
  EXPECT_TRUE(none.guards_intact());
}

TEST_P(Linear, NanReachesItsRow) {
  Real x = random("x", 4, 20);
  x(2, 3) = std::nan("");
  auto const y = output(4, 8);
  ops().linear(upload(x), upload(random("w", 8, 20)), y);
  Real const result = y.values();
  for (std::int64_t o = 0; o < 8; ++o) {
    EXPECT_TRUE(std::isnan(result(2, o)));
    EXPECT_FALSE(std::isnan(result(1, o)));
  }
}

TEST_P(Linear, TwiceGivesTheSameBits) {
  auto const x = upload(random("x", 2049, 130));
  auto const w = upload(random("w", 65, 130));
  auto const y = output(2049, 65);
  EXPECT_TRUE(same_bits_twice([&] { ops().linear(x, w, y); }, y));
  auto dw = output(DType::f32, 65, 130);
  auto const gradient = [&] {
    dw.fill(Real(65, 130));
    ops().linear_weight_gradient(y, x, dw);
  };
  EXPECT_TRUE(same_bits_twice(gradient, dw));
}

JREG_FOR_TYPES(Linear, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
