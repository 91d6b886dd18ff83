#include <cmath>

#include "backend/backend_test.h"
#include "oracle/cross_entropy.h"
#include "oracle/norm.h"

namespace jreg::backend {
namespace {

using oracle::Complex;
using oracle::Real;

/// Logits cut into slices of columns as ranks of a tensor group hold them; the last one has padding.
class CrossEntropy : public BackendTest {
protected:
  static constexpr float gradient_scale = 0.25F;
  std::int64_t vocab = 37;

  struct Slice {
    std::int64_t first;
    GuardedTensor logits;
  };

  std::vector<std::int32_t> targets(std::int64_t tokens) const {
    std::vector<std::int32_t> ids;
    RandomStream const stream{5, "targets"};
    for (std::int64_t t = 0; t < tokens; ++t) {
      ids.push_back(
          static_cast<std::int32_t>(stream.bits(static_cast<std::uint64_t>(t)) % static_cast<std::uint64_t>(vocab)));
    }
    return ids;
  }

  std::vector<Slice> cut(Real const& logits, std::int64_t ranks, std::int64_t width) {
    std::vector<Slice> slices;
    for (std::int64_t r = 0; r < ranks; ++r) {
      Real part(logits.rows, width);
      for (std::int64_t t = 0; t < part.rows; ++t) {
        for (std::int64_t i = 0; i < width; ++i) {
          // Padding is full of something that would win every maximum.
          part(t, i) = r * width + i < vocab ? logits(t, r * width + i) : 1e30;
        }
      }
      slices.push_back({r * width, upload(part, DType::f32, width % 8 == 0 ? 8 : 3)});
    }
    return slices;
  }

  /// The gradient of one slice, written to `out`, into its columns of `whole`; its padding is zero.
  void take_gradient(Slice const& slice, GuardedTensor const& out, GuardedTensor const& maximum,
                     GuardedTensor const& sums, GuardedTensor const& target_ids, Real& whole) {
    ops().logits_gradient(slice.logits, slice.first, vocab, maximum, sums, target_ids, gradient_scale, out);
    Real const found = out.values();
    for (std::int64_t t = 0; t < found.rows; ++t) {
      for (std::int64_t i = 0; i < found.columns; ++i) {
        if (slice.first + i < vocab) {
          whole(t, slice.first + i) = found(t, i);
        } else {
          EXPECT_EQ(found(t, i), 0);
        }
      }
    }
    EXPECT_TRUE(out.guards_intact() && slice.logits.guards_intact());
  }

  void check(std::int64_t tokens, std::int64_t ranks, std::int64_t width, double shift);
};

void CrossEntropy::check(std::int64_t tokens, std::int64_t ranks, std::int64_t width, double shift) {
  SCOPED_TRACE(fmt::format("{} tokens, {} ranks of {} columns, shift {}", tokens, ranks, width, shift));
  Real logits = oracle::random_matrix("logits", tokens, vocab, 3);
  for (double& value : logits.values) value = static_cast<double>(static_cast<float>(value + shift));
  auto const ids = targets(tokens);
  auto const target_ids = upload_tokens(ids);
  auto slices = cut(logits, ranks, width);

  Real largest(1, tokens);
  for (double& value : largest.values) value = -INFINITY;
  for (Slice const& slice : slices) {
    auto const maximum = output(DType::f32, 1, tokens);
    ops().logits_max(slice.logits, slice.first, vocab, maximum);
    Real const found = maximum.values();
    for (std::int64_t t = 0; t < tokens; ++t) largest(0, t) = std::max(largest(0, t), found(0, t));
    EXPECT_TRUE(maximum.guards_intact());
  }
  auto const maximum = upload(largest, DType::f32);
  Real totals(2, tokens);
  for (Slice const& slice : slices) {
    auto const sums = output(DType::f32, 2, tokens, 1);
    ops().logits_sum(slice.logits, slice.first, vocab, maximum, target_ids, sums);
    Real const found = sums.values();
    for (std::size_t i = 0; i < totals.values.size(); ++i) totals.values[i] += found.values[i];
    EXPECT_TRUE(sums.guards_intact());
  }
  auto const sums = upload(totals, DType::f32);
  Real before(1, 1);
  before(0, 0) = 2.5;
  auto const loss = upload(before, DType::f64);
  ops().add_token_losses(sums, loss);
  double const expected = oracle::total(oracle::token_losses(logits, ids, vocab));
  EXPECT_NEAR((loss.values()(0, 0) - 2.5) / expected, 1, 2e-6);

  // In place, elsewhere, and rounded elsewhere; each from fresh logits, which the call may spoil.
  Real gradient(tokens, vocab);
  Real apart(tokens, vocab);
  Real low(tokens, vocab);
  for (Slice const& slice : slices) take_gradient(slice, slice.logits, maximum, sums, target_ids, gradient);
  for (Slice const& slice : cut(logits, ranks, width)) {
    take_gradient(slice, output(DType::f32, tokens, width, width % 8 == 0 ? 8 : 1), maximum, sums, target_ids, apart);
  }
  for (Slice const& slice : cut(logits, ranks, width)) {
    take_gradient(slice, output(DType::bf16, tokens, width, width % 8 == 0 ? 8 : 5), maximum, sums, target_ids, low);
  }
  EXPECT_EQ(apart.values, gradient.values);
  for (std::size_t i = 0; i < low.values.size(); ++i) {
    EXPECT_EQ(low.values[i], to_float(to_bfloat16(static_cast<float>(gradient.values[i]))));
  }
  auto const elements = oracle::some_elements(logits, vocab > 1000 ? 20 : 200);
  auto const step = oracle::imaginary_step(logits, elements, [&](Complex const& x) {
    return static_cast<double>(gradient_scale) * oracle::total(oracle::token_losses(x, ids, vocab));
  });
  std::vector<double> found;
  for (std::size_t const i : elements) found.push_back(gradient.values[i]);
  // A sum of so many in fp32, one after another, loses digits.
  EXPECT_LT(relative_error(found, step), vocab > 1000 ? 1e-5 : 2e-6);
}

TEST_P(CrossEntropy, MatchesOracleOnOneRank) {
  for (std::int64_t const tokens : {1, 7, 65}) check(tokens, 1, vocab, 0);
}

TEST_P(CrossEntropy, MatchesOracleWithPaddingAndOnManyRanks) {
  check(7, 1, 40, 0);
  check(7, 2, 20, 0);
  check(65, 4, 10, 0);
  check(5, 3, 20, 0);  // the last rank holds nothing but padding
}

TEST_P(CrossEntropy, LongRowsMatchOracle) {
  vocab = 8990;
  check(3, 1, 8990, 0);
  check(3, 1, 9000, 0);  // rows in whole packs, the last of them half padding
  check(3, 3, 3000, 0);
}

TEST_P(CrossEntropy, ManyTokensMatchOracle) {
  check(300, 1, 40, 0);
}

TEST_P(CrossEntropy, LargeLogitsDoNotOverflow) {
  check(7, 2, 20, 3000);
}

TEST_P(CrossEntropy, NanLogitGivesNanLoss) {
  Real logits = oracle::random_matrix("logits", 1, 40);
  logits(0, 17) = std::nan("");
  auto const in = upload(logits, DType::f32);
  auto const ids = upload_tokens({3});
  auto const maximum = output(DType::f32, 1, 1);
  auto const sums = output(DType::f32, 2, 1);
  auto const loss = upload(Real(1, 1), DType::f64);
  ops().logits_max(in, 0, 40, maximum);
  ops().logits_sum(in, 0, 40, maximum, ids, sums);
  ops().add_token_losses(sums, loss);
  EXPECT_TRUE(std::isnan(loss.values()(0, 0)));
}

JREG_FOR_TYPES(CrossEntropy, DType::f32);

}  // namespace
}  // namespace jreg::backend
