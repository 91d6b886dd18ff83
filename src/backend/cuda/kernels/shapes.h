#pragma once

#include "backend/ops.h"
#include "base/expect.h"

// Checks of operations' arguments; base/error.h has more to say, but is not for nvcc.

namespace jreg::backend::cuda {

inline void expect_shape(Tensor const& tensor, std::int64_t rows, std::int64_t columns, char const* name,
                         std::source_location where = std::source_location::current()) {
  expect(tensor.data != nullptr && tensor.rows == rows && tensor.columns == columns, name, where);
}

/// A (1, count) f32 tensor of one number a token.
inline void expect_token_row(Tensor const& tensor, std::int64_t count, char const* name,
                             std::source_location where = std::source_location::current()) {
  expect_shape(tensor, 1, count, name, where);
  expect(tensor.dtype == DType::f32, name, where);
}

/// A (rows, columns) tensor of activations: f32 or bf16, as `like`.
inline void expect_activation(Tensor const& tensor, Tensor const& like, std::int64_t rows, std::int64_t columns,
                              char const* name, std::source_location where = std::source_location::current()) {
  expect_shape(tensor, rows, columns, name, where);
  expect(tensor.dtype == like.dtype && (like.dtype == DType::f32 || like.dtype == DType::bf16), name, where);
}

inline void expect_residual_norm(ResidualNorm const& args) {
  std::int64_t const tokens = args.residual.rows;
  std::int64_t const columns = args.residual.columns;
  expect_activation(args.residual, args.residual, tokens, columns, "residual");
  if (args.delta) {
    expect_activation(args.delta, args.residual, tokens, columns, "delta");
    expect_activation(args.hidden, args.residual, tokens, columns, "hidden");
  }
  if (args.gain) {
    expect_activation(args.gain, args.residual, 1, columns, "gain");
    expect_activation(args.normed, args.residual, tokens, columns, "normed");
    expect_token_row(args.rstd, tokens, "rstd");
  }
  if (!args.angular.norm) return;
  expect_token_row(args.angular.norm, tokens, "norm of hidden states");
  if (!args.previous) return;
  expect_activation(args.previous, args.residual, tokens, columns, "previous hidden states");
  expect_token_row(args.previous_norm, tokens, "norm of previous hidden states");
  expect_token_row(args.angular.displacement, tokens, "displacement");
  expect_token_row(args.angular.update_norm, tokens, "update norm");
}

inline void expect_angular_gradient(AngularGradient const& angular, Tensor const& hidden) {
  expect_token_row(angular.norm, hidden.rows, "norm of hidden states");
  if (angular.previous) {
    expect_activation(angular.previous, hidden, hidden.rows, hidden.columns, "previous hidden states");
    expect_token_row(angular.previous_norm, hidden.rows, "norm of previous hidden states");
    expect_token_row(angular.displacement, hidden.rows, "displacement");
  }
  if (!angular.next) return;
  expect_activation(angular.next, hidden, hidden.rows, hidden.columns, "next hidden states");
  expect_token_row(angular.next_norm, hidden.rows, "norm of next hidden states");
  expect_token_row(angular.next_displacement, hidden.rows, "next displacement");
}

inline void expect_norm_backward(NormBackward const& args) {
  std::int64_t const tokens = args.hidden_gradient.rows;
  std::int64_t const columns = args.hidden_gradient.columns;
  expect_activation(args.hidden, args.hidden_gradient, tokens, columns, "hidden");
  if (args.has_angular) expect_angular_gradient(args.angular, args.hidden);
  if (args.normed_gradient) {
    expect_activation(args.normed_gradient, args.hidden, tokens, columns, "normed gradient");
    expect_activation(args.gain, args.hidden, 1, columns, "gain");
    expect_token_row(args.rstd, tokens, "rstd");
    expect_token_row(args.gain_gradient, columns, "gain gradient");
  }
}

}  // namespace jreg::backend::cuda
