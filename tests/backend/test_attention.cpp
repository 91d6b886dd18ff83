#include <cmath>

#include "backend/angles.h"
#include "backend/backend_test.h"
#include "oracle/attention.h"

namespace jreg::backend {
namespace {

using oracle::Complex;
using oracle::Heads;
using oracle::Real;

class Attention : public BackendTest {};

AttentionShape shape_of(Heads const& heads) {
  return {heads.batch, heads.sequence, heads.heads, heads.kv_heads, heads.head_size};
}

constexpr Heads cases[] = {{1, 1, 1, 1, 2},   {2, 7, 4, 2, 6},   {1, 65, 2, 1, 64},
                           {1, 130, 4, 4, 6}, {3, 33, 4, 1, 20}, {1, 290, 1, 1, 2}};

std::string text_of(Heads const& c) {
  return fmt::format("batch {} sequence {} heads {}/{} size {}", c.batch, c.sequence, c.heads, c.kv_heads, c.head_size);
}

TEST_P(Attention, ForwardMatchesOracle) {
  for (Heads const& heads : cases) {
    SCOPED_TRACE(text_of(heads));
    AttentionShape const shape = shape_of(heads);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns(), 2);
    auto const expected = oracle::attention(heads, qkv);
    auto const in = upload(qkv, 3);
    auto const out = output(shape.tokens(), shape.query_columns(), 5);
    auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
    ops().attention(shape, in, {}, out, log_sum_exp);
    EXPECT_LT(relative_error(out.values(), expected.out), tolerance());
    EXPECT_LT(relative_error(log_sum_exp.values(), expected.log_sum_exp), 2e-6);
    EXPECT_TRUE(out.guards_intact() && log_sum_exp.guards_intact());
  }
}

TEST_P(Attention, ForwardCrossesKeyBlocks) {
  Heads const heads{1, 700, 2, 1, 8};
  AttentionShape const shape = shape_of(heads);
  Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns(), 3);
  auto const expected = oracle::attention(heads, qkv);
  auto const out = output(shape.tokens(), shape.query_columns());
  auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
  ops().attention(shape, upload(qkv), {}, out, log_sum_exp);
  EXPECT_LT(relative_error(out.values(), expected.out), tolerance());
  EXPECT_LT(relative_error(log_sum_exp.values(), expected.log_sum_exp), 2e-6);
}

TEST_P(Attention, LaterTokensDoNotReachEarlierOnes) {
  Heads const heads{1, 40, 2, 1, 6};
  AttentionShape const shape = shape_of(heads);
  Real qkv = random("qkv", shape.tokens(), shape.qkv_columns());
  auto const log_sum_exp = output(DType::f32, 2, 40);
  auto const first = output(40, shape.query_columns());
  ops().attention(shape, upload(qkv), {}, first, log_sum_exp);
  for (std::int64_t j = 0; j < qkv.columns; ++j) qkv(30, j) = 1000;
  auto const second = output(40, shape.query_columns());
  ops().attention(shape, upload(qkv), {}, second, log_sum_exp);
  Real const a = first.values();
  Real const b = second.values();
  for (std::int64_t t = 0; t < 30; ++t) {
    for (std::int64_t j = 0; j < a.columns; ++j) EXPECT_EQ(a(t, j), b(t, j));
  }
}

TEST_P(Attention, BackwardMatchesImaginaryStep) {
  for (Heads const& heads : cases) {
    SCOPED_TRACE(text_of(heads));
    AttentionShape const shape = shape_of(heads);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    auto const forward = oracle::attention(heads, qkv);
    auto const in = upload(qkv);
    auto const out = upload(forward.out, 1);
    auto const log_sum_exp = upload(forward.log_sum_exp, DType::f32);
    auto const gradient = upload(dout, 2);
    auto const dqkv = output(shape.tokens(), shape.qkv_columns(), 3);
    ops().attention_backward(shape, in, {}, out, log_sum_exp, gradient, {}, dqkv);

    auto const elements = oracle::some_elements(qkv, shape.sequence > 10 ? 12 : 200);
    auto const expected = oracle::imaginary_step(
        qkv, elements, [&](Complex const& x) { return oracle::weighted_sum(oracle::attention(heads, x).out, dout); });
    Real const result = dqkv.values();
    std::vector<double> found;
    for (std::size_t const i : elements) found.push_back(result.values[i]);
    EXPECT_LT(relative_error(found, expected), type() == DType::f32 ? 4e-6 : 1e-2);
    for (double const value : result.values) EXPECT_FALSE(std::isnan(value));
    EXPECT_TRUE(dqkv.guards_intact());
  }
}

TEST_P(Attention, BackwardThroughRopeMatchesImaginaryStep) {
  for (Heads const& heads : cases) {
    SCOPED_TRACE(text_of(heads));
    AttentionShape const shape = shape_of(heads);
    Angles const angles{backend(), shape, 1};
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Real const dout = random("dout", shape.tokens(), shape.query_columns());
    Real const turned = rounded(angles.turned(heads, qkv, {}));
    auto const forward = oracle::attention(heads, turned);
    auto const dqkv = output(shape.tokens(), shape.qkv_columns(), 3);
    ops().attention_backward(shape, upload(turned), {}, upload(forward.out, 1), upload(forward.log_sum_exp, DType::f32),
                             upload(dout, 2), angles.rotation(), dqkv);

    auto const elements = oracle::some_elements(qkv, shape.sequence > 10 ? 12 : 200);
    auto const expected = oracle::imaginary_step(qkv, elements, [&](Complex const& x) {
      return oracle::weighted_sum(oracle::attention(heads, angles.turned_near(heads, x, {}, qkv, turned)).out, dout);
    });
    Real const result = dqkv.values();
    std::vector<double> found;
    for (std::size_t const i : elements) found.push_back(result.values[i]);
    EXPECT_LT(relative_error(found, expected), type() == DType::f32 ? 4e-6 : 1e-2);
    EXPECT_TRUE(dqkv.guards_intact());
  }
}

TEST_P(Attention, TwiceGivesTheSameBits) {
  AttentionShape const shape = shape_of({2, 130, 4, 2, 16});
  auto const qkv = upload(random("qkv", shape.tokens(), shape.qkv_columns()));
  auto const dout = upload(random("dout", shape.tokens(), shape.query_columns()));
  auto const out = output(shape.tokens(), shape.query_columns());
  auto const log_sum_exp = output(DType::f32, shape.batch * shape.heads, shape.sequence);
  auto const dqkv = output(shape.tokens(), shape.qkv_columns());
  auto const call = [&] {
    ops().attention(shape, qkv, {}, out, log_sum_exp);
    ops().attention_backward(shape, qkv, {}, out, log_sum_exp, dout, {}, dqkv);
  };
  EXPECT_TRUE(same_bits_twice(call, out));
  EXPECT_TRUE(same_bits_twice(call, dqkv));
}

TEST_P(Attention, RopeMatchesOracle) {
  std::vector<Heads> all{std::begin(cases), std::end(cases)};
  all.push_back({.batch = 2, .sequence = 37, .heads = 3, .kv_heads = 1, .head_size = 64});  // whole packs
  for (Heads const& heads : all) {
    SCOPED_TRACE(text_of(heads));
    std::int64_t const gap = heads.head_size == 64 ? 8 : 3;
    AttentionShape const shape = shape_of(heads);
    Real const qkv = random("qkv", shape.tokens(), shape.qkv_columns());
    Angles const angles{backend(), shape};
    auto const inout = upload(qkv, gap);
    ops().rope(shape, inout, {}, angles.rotation());
    EXPECT_LT(relative_error(inout.values(), angles.turned(heads, qkv, {})), tolerance());
    EXPECT_TRUE(inout.guards_intact());
  }
}

JREG_FOR_TYPES(Attention, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
