#pragma once

#include "backend/tensor.h"
#include "base/error.h"

namespace jreg::backend::cpu {

inline void expect_shape(Tensor const& tensor, std::int64_t rows, std::int64_t columns, char const* name,
                         std::source_location where = std::source_location::current()) {
  expect_equal(tensor.rows, rows, name, where);
  expect_equal(tensor.columns, columns, name, where);
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

}  // namespace jreg::backend::cpu
