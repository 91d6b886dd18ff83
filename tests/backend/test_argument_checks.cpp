#include "backend/backend_test.h"
#include "base/error.h"

namespace jreg::backend {
namespace {

constexpr std::int64_t tokens = 3;
constexpr std::int64_t width = 16;

/// Every backend refuses what ops.h does not promise, before anything is computed.
class ArgumentChecks : public BackendTest {
protected:
  struct Arguments {
    GuardedTensor activation;
    GuardedTensor other;
    GuardedTensor narrow;
    GuardedTensor gain;
    GuardedTensor token_row;
    GuardedTensor integers;
    GuardedTensor gradient;
  };
  Arguments arguments() {
    return {output(tokens, width),         output(tokens, width),         output(tokens, width - 1),   output(1, width),
            output(DType::f32, 1, tokens), output(DType::i32, 1, tokens), output(DType::f32, 1, width)};
  }
};

TEST_P(ArgumentChecks, NormsWantTheirShapesAndTypes) {
  Arguments const with = arguments();
  ResidualNorm const right{.residual = with.activation,
                           .gain = with.gain,
                           .rstd = with.token_row,
                           .normed = with.other,
                           .eps = 1e-5F,
                           .angular = {}};
  EXPECT_NO_THROW(ops().residual_norm(right));
  for (auto const& [member, wrong] : {std::pair{&ResidualNorm::normed, with.narrow.view()},
                                      {&ResidualNorm::rstd, with.integers.view()},
                                      {&ResidualNorm::gain, with.activation.view()},
                                      {&ResidualNorm::normed, Tensor{nullptr, type(), tokens, width}}}) {
    ResidualNorm args = right;
    args.*member = wrong;
    EXPECT_THROW(ops().residual_norm(args), InternalError);
  }
}

TEST_P(ArgumentChecks, NormsBackwardWantTheirShapesAndTypes) {
  Arguments const with = arguments();
  NormBackward right;
  right.normed_gradient = with.other;
  right.hidden = with.activation;
  right.gain = with.gain;
  right.rstd = with.token_row;
  right.hidden_gradient = with.activation;
  right.gain_gradient = with.gradient;
  for (auto const& [member, wrong] : {std::pair{&NormBackward::normed_gradient, with.narrow.view()},
                                      {&NormBackward::hidden, with.narrow.view()},
                                      {&NormBackward::rstd, with.integers.view()},
                                      {&NormBackward::gain_gradient, with.token_row.view()}}) {
    NormBackward args = right;
    args.*member = wrong;
    EXPECT_THROW(ops().norm_backward(args), InternalError);
  }
}

TEST_P(ArgumentChecks, GradientsOfWeightsAreFp32) {
  Arguments const with = arguments();
  GuardedTensor const whole = output(DType::f32, width, width);
  GuardedTensor const half = output(DType::bf16, width, width);
  EXPECT_NO_THROW(ops().linear_weight_gradient(with.other, with.activation, whole));
  EXPECT_THROW(ops().linear_weight_gradient(with.other, with.activation, half), InternalError);
  EXPECT_THROW(ops().linear_weight_gradient(with.narrow, with.activation, whole), InternalError);
}

TEST_P(ArgumentChecks, PlainMemoryAndStatisticsWantTheirTypes) {
  Arguments const with = arguments();
  GuardedTensor const sum = output(DType::f64, 1, 1);
  EXPECT_THROW(ops().copy(with.activation, with.narrow), InternalError);
  EXPECT_THROW(ops().copy(with.integers, with.token_row), InternalError);
  EXPECT_THROW(ops().add_squares(with.integers, sum), InternalError);
  EXPECT_THROW(ops().add_squares(with.token_row, with.token_row), InternalError);
  EXPECT_THROW(ops().add_histogram(with.token_row, with.integers), InternalError);
  EXPECT_THROW(ops().embedding(with.token_row, with.activation, 0, with.other), InternalError);
}

JREG_FOR_TYPES(ArgumentChecks, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
