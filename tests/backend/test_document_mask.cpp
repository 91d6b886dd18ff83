// Attention and RoPE where a sequence holds several documents.
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

class DocumentMask : public BackendTest {};

AttentionShape shape_of(Heads const& heads) {
  return {heads.batch, heads.sequence, heads.heads, heads.kv_heads, heads.head_size};
}

/// Sequences of the same length, each cut at `begins`.
First first_of_documents(Heads const& heads, std::vector<std::int64_t> const& begins) {
  First first;
  for (std::int64_t token = 0; token < heads.batch * heads.sequence; ++token) {
    std::int64_t document = 0;
    for (std::int64_t const begin : begins) {
      if (begin <= token % heads.sequence) document = begin;
    }
    first.push_back(static_cast<std::int32_t>(document));
  }
  return first;
}

struct Case {
  Heads heads;
  std::vector<std::int64_t> begins;  // of the documents after the first
};

// Edges inside of, at, and next to blocks of queries (32), keys and chunks (256); documents of one token; a document
// that is longer than a block of keys behind another.
Case const cases[] = {
    {{1, 2, 1, 1, 2}, {1}},
    {{2, 7, 4, 2, 6}, {3, 4}},
    {{1, 65, 2, 1, 64}, {32, 64}},
    {{3, 33, 4, 1, 20}, {1, 2, 31, 32}},
    {{1, 290, 1, 1, 2}, {5, 40, 256, 257, 288}},
    {{1, 700, 2, 1, 8}, {37, 390}},
    {{1, 600, 2, 2, 4}, {255, 300, 511}},
};

/// Largest |a - b| over rows [begin, end).
double difference(Real const& a, Real const& b, std::int64_t begin, std::int64_t end) {
  double largest = 0;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t j = 0; j < a.columns; ++j) largest = std::max(largest, std::abs(a(row, j) - b(row, j)));
  }
  return largest;
}

/// Rows [begin, end).
Real rows(Real const& matrix, std::int64_t begin, std::int64_t end) {
  Real part(end - begin, matrix.columns);
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t j = 0; j < matrix.columns; ++j) part(row - begin, j) = matrix(row, j);
  }
  return part;
}

TEST_P(DocumentMask, ForwardMatchesOracle) {
  for (Case const& c : cases) {
    SCOPED_TRACE(fmt::format("sequence {} heads {}", c.heads.sequence, c.heads.heads));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c.heads, c.begins);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns(), 2);
    auto const expected = oracle::attention(c.heads, qkv, first);
    auto const out = output(shape.tokens(), shape.query_columns(), 5);
    auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
    ops().attention(shape, upload(qkv, 3), upload_tokens(first), out, log_sum_exp);
    EXPECT_LT(relative_error(out.values(), expected.out), tolerance());
    EXPECT_LT(relative_error(log_sum_exp.values(), expected.log_sum_exp), 2e-6);
    EXPECT_TRUE(out.guards_intact() && log_sum_exp.guards_intact());
  }
}

TEST_P(DocumentMask, BackwardThroughRopeMatchesImaginaryStep) {
  for (Case const& c : cases) {
    SCOPED_TRACE(fmt::format("sequence {} heads {}", c.heads.sequence, c.heads.heads));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c.heads, c.begins);
    Angles const angles{backend(), shape};
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    Real const turned = rounded(angles.turned(c.heads, qkv, first));
    auto const forward = oracle::attention(c.heads, turned, first);
    auto const dqkv = output(shape.tokens(), shape.qkv_columns(), 3);
    ops().attention_backward(shape, upload(turned), upload_tokens(first), upload(forward.out, 1),
                             upload(forward.log_sum_exp, DType::f32), upload(dout, 2), angles.rotation(), dqkv);
    auto const elements = oracle::some_elements(qkv, shape.sequence > 10 ? 12 : 200);
    auto const expected = oracle::imaginary_step(qkv, elements, [&](Complex const& x) {
      return oracle::weighted_sum(
          oracle::attention(c.heads, angles.turned_near(c.heads, x, first, qkv, turned), first).out, dout);
    });
    Real const result = dqkv.values();
    std::vector<double> found;
    for (std::size_t const i : elements) found.push_back(result.values[i]);
    EXPECT_LT(relative_error(found, expected), type() == DType::f32 ? 4e-6 : 1e-2);
    for (double const value : result.values) EXPECT_FALSE(std::isnan(value));
    EXPECT_TRUE(dqkv.guards_intact());
  }
}

TEST_P(DocumentMask, RopeStartsAgainWithEachDocument) {
  for (Case const& c : cases) {
    SCOPED_TRACE(fmt::format("sequence {} heads {}", c.heads.sequence, c.heads.heads));
    AttentionShape const shape = shape_of(c.heads);
    First const first = first_of_documents(c.heads, c.begins);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Angles const angles{backend(), shape};
    auto const inout = upload(qkv, 3);
    ops().rope(shape, inout, upload_tokens(first), angles.rotation());
    EXPECT_LT(relative_error(inout.values(), angles.turned(c.heads, qkv, first)), tolerance());
    EXPECT_TRUE(inout.guards_intact());
  }
}

/// Forward and backward of one sequence.
struct Passed {
  Real out;
  Real log_sum_exp;
  Real dqkv;
};

class DocumentLeakage : public DocumentMask {
protected:
  Passed pass(Heads const& heads, Real const& qkv, First const& first, Real const& dout) {
    AttentionShape const shape = shape_of(heads);
    auto const in = upload(qkv);
    GuardedTensor const begins = upload_tokens(first.empty() ? First(1) : first);
    Tensor const mask = first.empty() ? Tensor{} : begins.view();
    auto const out = output(shape.tokens(), shape.query_columns());
    auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
    auto const dqkv = output(shape.tokens(), shape.qkv_columns());
    ops().attention(shape, in, mask, out, log_sum_exp);
    ops().attention_backward(shape, in, mask, out, log_sum_exp, upload(dout), {}, dqkv);
    return {out.values(), log_sum_exp.values(), dqkv.values()};
  }
};

TEST_P(DocumentLeakage, ZeroesGiveTheSameBitsAsNoMask) {
  Heads const heads{2, 300, 4, 2, 6};
  AttentionShape const shape = shape_of(heads);
  Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
  Real const dout = random("dout", shape.tokens(), shape.query_columns());
  Passed const without = pass(heads, qkv, {}, dout);
  Passed const with = pass(heads, qkv, First(static_cast<std::size_t>(shape.tokens())), dout);
  EXPECT_EQ(with.out.values, without.out.values);
  EXPECT_EQ(with.log_sum_exp.values, without.log_sum_exp.values);
  EXPECT_EQ(with.dqkv.values, without.dqkv.values);
}

TEST_P(DocumentLeakage, AnEarlierDocumentDoesNotTouchALaterOne) {
  for (std::int64_t const border : {1, 31, 40, 256, 300}) {
    Heads const heads{1, 400, 2, 1, 6};
    AttentionShape const shape = shape_of(heads);
    First const first = first_of_documents(heads, {border});
    Real qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real dout = random("dout", shape.tokens(), shape.query_columns());
    Passed const before = pass(heads, qkv, first, dout);
    for (std::int64_t token = 0; token < border; ++token) {
      for (std::int64_t j = 0; j < qkv.columns; ++j) qkv(token, j) = 1000;
      for (std::int64_t j = 0; j < dout.columns; ++j) dout(token, j) = -1000;
    }
    Passed const after = pass(heads, qkv, first, dout);
    EXPECT_EQ(difference(before.out, after.out, border, heads.sequence), 0) << border;
    EXPECT_EQ(difference(before.dqkv, after.dqkv, border, heads.sequence), 0) << border;
    EXPECT_GT(difference(before.out, after.out, 0, border), 1) << border;
  }
}

TEST_P(DocumentLeakage, PackedDocumentsEqualTheSameAlone) {
  Heads const heads{1, 420, 2, 1, 6};
  std::vector<std::int64_t> const begins{0, 33, 34, 300};
  AttentionShape const shape = shape_of(heads);
  Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
  Real const dout = random("dout", shape.tokens(), shape.query_columns());
  Passed const packed = pass(heads, qkv, first_of_documents(heads, begins), dout);
  for (std::size_t i = 0; i < begins.size(); ++i) {
    std::int64_t const begin = begins[i];
    std::int64_t const end = i + 1 < begins.size() ? begins[i + 1] : heads.sequence;
    Heads alone = heads;
    alone.sequence = end - begin;
    Passed const single = pass(alone, rows(qkv, begin, end), {}, rows(dout, begin, end));
    EXPECT_LT(relative_error(rows(packed.out, begin, end), single.out), tolerance());
    EXPECT_LT(relative_error(rows(packed.dqkv, begin, end), single.dqkv), 2 * tolerance());
  }
}

TEST_P(DocumentLeakage, FirstTokensThatFallOrLieAheadAreABrokenInvariant) {
  if (!GetParam().backend.starts_with("cpu")) GTEST_SKIP() << "looking at them would wait for the device";
  Heads const heads{1, 3, 1, 1, 2};
  Real const qkv = random("qkv", 3, 6);
  Real const dout = random("dout", 3, 2);
  EXPECT_THROW(pass(heads, qkv, {0, 1, 0}, dout), Error);
  EXPECT_THROW(pass(heads, qkv, {0, 2, 2}, dout), Error);
  EXPECT_THROW(pass(heads, qkv, {-1, 0, 0}, dout), Error);
}

JREG_FOR_TYPES(DocumentMask, DType::f32, DType::bf16);
JREG_FOR_TYPES(DocumentLeakage, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
