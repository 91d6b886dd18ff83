#pragma once

#include "backend/tensor.h"
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

}  // namespace jreg::backend::cuda
