#include "backend/profiled_ops.h"

#include <gtest/gtest.h>

#include "backend/backend_test.h"

namespace jreg::backend {
namespace {

class ProfiledOpsTest : public BackendTest {
protected:
  /// The entry of the one operation called so far.
  OperationTotal only() {
    auto const totals = profiled_.profile().totals();
    EXPECT_EQ(totals.size(), 1U);
    OperationTotal const total = totals.empty() ? OperationTotal{} : totals.front();
    profiled_.profile().clear();
    return total;
  }
  double size() const { return type() == DType::f32 ? 4 : 2; }
  Ops& profiled_ops() { return profiled_.ops(); }

  ProfiledBackend profiled_{backend()};
};

TEST_P(ProfiledOpsTest, ProductsGiveTheSameBitsAndAreCounted) {
  GuardedTensor const x = upload(random("x", 5, 7));
  GuardedTensor const w = upload(random("w", 3, 7));
  GuardedTensor const dy = upload(random("dy", 5, 3));
  GuardedTensor const plain = output(5, 3);
  GuardedTensor const timed = output(5, 3);
  ops().linear(x, w, plain);
  profiled_ops().linear(x, w, timed);
  EXPECT_EQ(plain.bytes(), timed.bytes());
  profiled_ops().linear(x, w, timed);
  OperationTotal const total = only();
  EXPECT_EQ(total.name, "linear");
  EXPECT_EQ(total.shape, "5 x 7 x 3");
  EXPECT_EQ(total.calls, 2);
  EXPECT_GT(total.seconds, 0);
  EXPECT_EQ(total.flop, 2 * 2 * 5 * 7 * 3);
  EXPECT_EQ(total.bytes, 2 * (35 + 21 + 15) * size());

  GuardedTensor const dx = upload(random("dx", 5, 7));
  profiled_ops().linear_input_gradient(dy, w, dx, true);
  OperationTotal const input = only();
  EXPECT_EQ(input.flop, 2 * 5 * 7 * 3);
  EXPECT_EQ(input.bytes, (15 + 21 + 35 + 35) * size());

  GuardedTensor const dw = upload(random("dw", 3, 7), DType::f32);
  profiled_ops().linear_weight_gradient(dy, x, dw);
  OperationTotal const weight = only();
  EXPECT_EQ(weight.flop, 2 * 5 * 7 * 3);
  EXPECT_EQ(weight.bytes, (15 + 35) * size() + 2 * 21 * 4);
}

TEST_P(ProfiledOpsTest, AttentionCountsTheCausalHalf) {
  AttentionShape const shape{.batch = 2, .sequence = 5, .heads = 4, .kv_heads = 2, .head_size = 6};
  GuardedTensor const qkv = upload(random("qkv", 10, 48));
  GuardedTensor const plain = output(10, 24);
  GuardedTensor const timed = output(10, 24);
  GuardedTensor const log_sum_exp = output(DType::f32, 8, 5);
  ops().attention(shape, qkv, {}, plain, log_sum_exp);
  profiled_ops().attention(shape, qkv, {}, timed, log_sum_exp);
  EXPECT_EQ(plain.bytes(), timed.bytes());
  constexpr double pairs = 1 + 2 + 3 + 4 + 5;
  OperationTotal const forward = only();
  EXPECT_EQ(forward.flop, 2 * 2 * 8 * pairs * 6);  // scores and values, of 8 heads in all
  EXPECT_EQ(forward.bytes, (480 + 240) * size() + 40 * 4);

  GuardedTensor const dout = upload(random("dout", 10, 24));
  GuardedTensor const dqkv = output(10, 48);
  profiled_ops().attention_backward(shape, qkv, {}, timed, log_sum_exp, dout, {}, dqkv);
  OperationTotal const backward = only();
  EXPECT_EQ(backward.flop, 2 * 5 * 8 * pairs * 6);  // scores again, and the gradients of q, k, v and the mixture
  EXPECT_EQ(backward.bytes, (480 + 240 + 240 + 480) * size() + 40 * 4);
}

TEST_P(ProfiledOpsTest, NormsCountWhatIsThere) {
  GuardedTensor const h = upload(random("h", 4, 16));
  GuardedTensor const delta = upload(random("delta", 4, 16));
  GuardedTensor const gain = upload(random("gain", 1, 16));
  GuardedTensor const hidden = output(4, 16);
  GuardedTensor const normed = output(4, 16);
  GuardedTensor const rstd = output(DType::f32, 1, 4);
  double const gain_and_rstd = 16 * size() + 4 * 4;
  profiled_ops().residual_norm({.residual = h, .gain = gain, .rstd = rstd, .normed = normed, .eps = 1e-5F});
  EXPECT_EQ(only().bytes, 2 * 64 * size() + gain_and_rstd);
  profiled_ops().residual_norm(
      {.residual = h, .delta = delta, .hidden = hidden, .gain = gain, .rstd = rstd, .normed = normed, .eps = 1e-5F});
  EXPECT_EQ(only().bytes, 4 * 64 * size() + gain_and_rstd);
  profiled_ops().norm_again(hidden, gain, rstd, normed);
  EXPECT_EQ(only().bytes, 2 * 64 * size() + gain_and_rstd);
  GuardedTensor const gain_gradient = upload(random("dgain", 1, 16), DType::f32);
  NormBackward args{.normed_gradient = delta,
                    .hidden = hidden,
                    .gain = gain,
                    .rstd = rstd,
                    .hidden_gradient = normed,
                    .gain_gradient = gain_gradient};
  profiled_ops().norm_backward(args);
  EXPECT_EQ(only().bytes, 4 * 64 * size() + gain_and_rstd + 2 * 16 * 4);
  args.overwrite = true;
  profiled_ops().norm_backward(args);
  EXPECT_EQ(only().bytes, 3 * 64 * size() + gain_and_rstd + 2 * 16 * 4);
}

TEST_P(ProfiledOpsTest, AdamWReadsFourAndWritesThreeFloatsAParameter) {
  GuardedTensor const weight = upload(random("w", 1, 10), DType::f32);
  GuardedTensor const gradient = upload(random("g", 1, 10), DType::f32);
  GuardedTensor const first = upload(random("m", 1, 10), DType::f32);
  GuardedTensor const second = upload(oracle::Real{1, 10}, DType::f32);
  profiled_ops().adamw({.weight = weight, .gradient = gradient, .first = first, .second = second, .eps = 1e-8F});
  EXPECT_EQ(only().bytes, 10 * 7 * 4);
  GuardedTensor const low = upload(random("w", 1, 10), DType::bf16);
  profiled_ops().adamw({.weight = low,
                        .compute = {},
                        .gradient = gradient,
                        .first = first,
                        .second = second,
                        .eps = 1e-8F,
                        .rounding = {.key = 1, .first = 0, .run = 10, .stride = 10}});
  EXPECT_EQ(only().bytes, 10 * (5 * 4 + 2 * 2)) << "bf16 weights alone";
}

TEST_P(ProfiledOpsTest, ShapesHaveEntriesOfTheirOwnTheLongestFirst) {
  GuardedTensor const small = output(DType::f32, 1, 8);
  GuardedTensor const large = output(DType::f32, 1, 1 << 20);
  profiled_ops().zero(small);
  profiled_ops().zero(large);
  auto const totals = profiled_.profile().totals();
  ASSERT_EQ(totals.size(), 2U);
  EXPECT_NE(totals[0].shape, totals[1].shape);
  EXPECT_GE(totals[0].seconds, totals[1].seconds);
}

JREG_FOR_TYPES(ProfiledOpsTest, DType::f32, DType::bf16);

TEST(ArithmeticPeak, IsMeasuredWithEveryInstructionSet) {
  for (std::string const& name : test_backends()) {
    if (!name.starts_with("cpu")) continue;
    auto const backend = make_test_backend(name);
    for (DType const type : {DType::f32, DType::bf16}) {
      EXPECT_GT(backend->arithmetic_peak(type), 1e7) << name;
      EXPECT_LT(backend->arithmetic_peak(type), 1e15) << name;
    }
  }
}

}  // namespace
}  // namespace jreg::backend
