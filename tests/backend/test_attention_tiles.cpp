// Attention with heads of 64 and 128 and rows at multiples of 16 bytes, which tensor cores take: several tiles of
// queries and keys with a rest, grouped heads, documents with edges inside of, at and next to tiles.
#include <cmath>

#include "backend/angles.h"
#include "backend/backend_test.h"
#include "oracle/attention.h"

namespace jreg::backend {
namespace {

using oracle::Complex;
using oracle::First;
using oracle::Heads;
using oracle::Real;

AttentionShape shape_of(Heads const& heads) {
  return {heads.batch, heads.sequence, heads.heads, heads.kv_heads, heads.head_size};
}

struct Case {
  Heads heads;
  std::vector<std::int64_t> begins;  // of the documents after the first; none: no mask
};

Case const cases[] = {
    {{1, 1, 1, 1, 64}, {}},           {{2, 150, 4, 2, 64}, {}},
    {{1, 200, 2, 1, 128}, {}},        {{1, 260, 2, 1, 64}, {1, 31, 64, 65, 127, 192, 259}},
    {{2, 140, 3, 1, 128}, {96, 128}}, {{1, 300, 1, 1, 128}, {190}},
};

std::string text_of(Case const& c) {
  return fmt::format("batch {} sequence {} heads {}/{} size {} documents {}", c.heads.batch, c.heads.sequence,
                     c.heads.heads, c.heads.kv_heads, c.heads.head_size, c.begins.size() + 1);
}

First first_of_documents(Case const& c) {
  First first;
  if (c.begins.empty()) return first;
  for (std::int64_t token = 0; token < c.heads.batch * c.heads.sequence; ++token) {
    std::int64_t document = 0;
    for (std::int64_t const begin : c.begins) {
      if (begin <= token % c.heads.sequence) document = begin;
    }
    first.push_back(static_cast<std::int32_t>(document));
  }
  return first;
}

/// Columns [begin, end) of rows [first, last).
Real part_of(Real const& matrix, std::int64_t first, std::int64_t last, std::int64_t begin, std::int64_t end) {
  Real part(last - first, end - begin);
  for (std::int64_t row = first; row < last; ++row) {
    for (std::int64_t j = begin; j < end; ++j) part(row - first, j - begin) = matrix(row, j);
  }
  return part;
}

double norm_of(Real const& values) {
  return std::sqrt(oracle::weighted_sum(values, values));
}

/// Largest error of one head of one token, as a part of what heads of tokens measure on average.
double largest_error(Real const& found, Real const& expected, std::int64_t head_size) {
  double const usual = norm_of(expected) / std::sqrt(static_cast<double>(expected.values.size() / head_size));
  double largest = 0;
  for (std::int64_t row = 0; row < found.rows; ++row) {
    for (std::int64_t begin = 0; begin < found.columns; begin += head_size) {
      Real difference = part_of(found, row, row + 1, begin, begin + head_size);
      for (std::int64_t j = 0; j < head_size; ++j) difference(0, j) -= expected(row, begin + j);
      double const error = norm_of(difference);
      if (!(error <= largest)) largest = error;  // NaN as well
    }
  }
  return largest / usual;
}

class AttentionTiles : public BackendTest {
protected:
  static constexpr std::int64_t gap = 8;  // elements between rows: 16 bytes of bf16

  double head_tolerance() const { return type() == DType::f32 ? 2e-5 : 3e-2; }

  struct Passed {
    Real out;
    Real log_sum_exp;
    Real dqkv;
  };
  /// Forward and backward.
  Passed pass(Heads const& heads, Real const& qkv, First const& first, Real const& dout,
              Rotation const& rotation = {}) {
    AttentionShape const shape = shape_of(heads);
    auto const in = upload(qkv, gap);
    GuardedTensor const begins = upload_tokens(first.empty() ? First(1) : first);
    Tensor const mask = first.empty() ? Tensor{} : begins.view();
    auto const out = output(shape.tokens(), shape.query_columns(), gap);
    auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
    auto const dqkv = output(shape.tokens(), shape.qkv_columns(), gap);
    ops().attention(shape, in, mask, out, log_sum_exp);
    ops().attention_backward(shape, in, mask, out, log_sum_exp, upload(dout, gap), rotation, dqkv);
    EXPECT_TRUE(out.guards_intact() && log_sum_exp.guards_intact() && dqkv.guards_intact());
    return {out.values(), log_sum_exp.values(), dqkv.values()};
  }
};

TEST(AttentionOracle, BackwardMatchesImaginaryStep) {
  Case const c{{2, 9, 4, 2, 6}, {3, 4}};
  First const first = first_of_documents(c);
  AttentionShape const shape = shape_of(c.heads);
  Real const qkv = oracle::random_matrix("qkv", shape.tokens(), shape.qkv_columns());
  Real const dout = oracle::random_matrix("dout", shape.tokens(), shape.query_columns());
  auto const found = oracle::attention_backward(c.heads, qkv, first, oracle::attention(c.heads, qkv, first), dout);
  auto const expected = oracle::imaginary_step(
      qkv, oracle::some_elements(qkv, qkv.values.size()),
      [&](Complex const& x) { return oracle::weighted_sum(oracle::attention(c.heads, x, first).out, dout); });
  EXPECT_LT(relative_error(found.values, expected), 1e-12);
}

TEST_P(AttentionTiles, ForwardAndBackwardMatchOracle) {
  for (Case const& c : cases) {
    SCOPED_TRACE(text_of(c));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    auto const forward = oracle::attention(c.heads, qkv, first);
    Angles const angles{backend(), shape};
    Real const expected =
        angles.turned_back(c.heads, oracle::attention_backward(c.heads, qkv, first, forward, dout), first);
    Passed const found = pass(c.heads, qkv, first, dout, angles.rotation());
    EXPECT_LT(relative_error(found.out, forward.out), tolerance());
    EXPECT_LT(largest_error(found.out, forward.out, shape.head_size), head_tolerance());
    EXPECT_LT(relative_error(found.log_sum_exp, forward.log_sum_exp), 2e-6);
    std::int64_t begin = 0;
    for (std::int64_t const heads : {shape.heads, shape.kv_heads, shape.kv_heads}) {
      std::int64_t const end = begin + heads * shape.head_size;
      Real const part = part_of(found.dqkv, 0, shape.tokens(), begin, end);
      Real const exact = part_of(expected, 0, shape.tokens(), begin, end);
      if (shape.sequence == 1 && begin < 2 * shape.head_size) {
        EXPECT_LT(norm_of(part), type() == DType::f32 ? 1e-5 : 0.2) << begin;  // zero but for rounding
      } else {
        EXPECT_LT(relative_error(part, exact), type() == DType::f32 ? 4e-6 : 1e-2) << begin;
        EXPECT_LT(largest_error(part, exact, shape.head_size), head_tolerance()) << begin;
      }
      begin = end;
    }
  }
}

TEST_P(AttentionTiles, AnglesAreTurnedBackWhereverTheyLie) {
  for (Case const& c : {Case{{2, 140, 2, 1, 64}, {70}}, Case{{1, 140, 2, 1, 128}, {}}}) {
    SCOPED_TRACE(text_of(c));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    Real const before = pass(c.heads, qkv, first, dout).dqkv;
    for (std::int64_t const angle_gap : {0, 2, 1}) {  // in rows at multiples of 16, 8 and 4 bytes
      SCOPED_TRACE(angle_gap);
      Angles const angles{backend(), shape, angle_gap};
      Real const found = pass(c.heads, qkv, first, dout, angles.rotation()).dqkv;
      EXPECT_LT(relative_error(found, angles.turned_back(c.heads, before, first)), tolerance());
    }
  }
}

TEST_P(AttentionTiles, LargeScoresStayFinite) {
  Heads const heads{1, 140, 1, 1, 64};
  AttentionShape const shape = shape_of(heads);
  Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns(), 16);  // scores of about 2000
  Real const dout = random("dout", shape.tokens(), shape.query_columns());
  auto const forward = oracle::attention(heads, qkv);
  Passed const found = pass(heads, qkv, {}, dout);
  EXPECT_LT(relative_error(found.out, forward.out), tolerance());
  EXPECT_LT(relative_error(found.log_sum_exp, forward.log_sum_exp), 2e-6);
  for (double const value : found.dqkv.values) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionTiles, ZeroesGiveTheSameBitsAsNoMaskAndTwiceGivesTheSameBits) {
  for (Heads const& heads : {Heads{1, 150, 2, 1, 64}, Heads{1, 150, 2, 1, 128}}) {
    SCOPED_TRACE(heads.head_size);
    AttentionShape const shape = shape_of(heads);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    Passed const without = pass(heads, qkv, {}, dout);
    for (First const& first : {First(static_cast<std::size_t>(shape.tokens())), First{}}) {
      Passed const again = pass(heads, qkv, first, dout);
      EXPECT_EQ(again.out.values, without.out.values);
      EXPECT_EQ(again.log_sum_exp.values, without.log_sum_exp.values);
      EXPECT_EQ(again.dqkv.values, without.dqkv.values);
    }
  }
}

TEST_P(AttentionTiles, ASequenceHasTheSameBitsInEveryBatch) {
  for (Case const& c : {Case{{2, 140, 2, 1, 64}, {}}, Case{{2, 140, 2, 1, 128}, {70}}}) {
    SCOPED_TRACE(text_of(c));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    Passed const all = pass(c.heads, qkv, first, dout);
    std::int64_t const begin = (shape.batch - 1) * shape.sequence;
    Heads alone = c.heads;
    alone.batch = 1;
    First const own = first.empty() ? First{} : First(first.begin() + begin, first.end());
    Passed const single = pass(alone, part_of(qkv, begin, qkv.rows, 0, qkv.columns), own,
                               part_of(dout, begin, dout.rows, 0, dout.columns));
    EXPECT_EQ(part_of(all.out, begin, qkv.rows, 0, dout.columns).values, single.out.values);
    EXPECT_EQ(part_of(all.dqkv, begin, qkv.rows, 0, qkv.columns).values, single.dqkv.values);
  }
}

TEST_P(AttentionTiles, NeitherLaterTokensNorEarlierDocumentsAreSeen) {
  Case const c{{1, 200, 2, 1, 64}, {70}};
  constexpr std::int64_t last = 150;  // token that others before it must not see
  AttentionShape const shape = shape_of(c.heads);
  First const first = first_of_documents(c);
  Real qkv = random("qkv", shape.tokens(), shape.qkv_columns());
  Real dout = random("dout", shape.tokens(), shape.query_columns());
  Passed const before = pass(c.heads, qkv, first, dout);
  for (std::int64_t token = 0; token < shape.tokens(); ++token) {
    if (token >= c.begins[0] && token < last) continue;
    for (std::int64_t j = 0; j < qkv.columns; ++j) qkv(token, j) = 1000;
  }
  for (std::int64_t token = 0; token < c.begins[0]; ++token) {
    for (std::int64_t j = 0; j < dout.columns; ++j) dout(token, j) = -1000;
  }
  Passed const after = pass(c.heads, qkv, first, dout);
  EXPECT_EQ(part_of(before.out, c.begins[0], last, 0, dout.columns).values,
            part_of(after.out, c.begins[0], last, 0, dout.columns).values);
  EXPECT_EQ(part_of(before.dqkv, c.begins[0], last, 0, dout.columns).values,
            part_of(after.dqkv, c.begins[0], last, 0, dout.columns).values);
  EXPECT_NE(part_of(before.out, last, 200, 0, dout.columns).values,
            part_of(after.out, last, 200, 0, dout.columns).values);
}

JREG_FOR_TYPES(AttentionTiles, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
