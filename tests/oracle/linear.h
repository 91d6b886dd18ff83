#pragma once

#include "oracle/matrix.h"

namespace jreg::oracle {

/// y (T, out) = x (T, in) w^T, w (out, in).
template <class S> Matrix<S> linear(Matrix<S> const& x, Matrix<S> const& w) {
  Matrix<S> y(x.rows, w.rows);
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t o = 0; o < w.rows; ++o) {
      for (std::int64_t i = 0; i < x.columns; ++i) y(t, o) += x(t, i) * w(o, i);
    }
  }
  return y;
}

/// Row `token - first_row` of the table for each token; zeros for tokens of other ranks.
template <class S>
Matrix<S> embedding(std::vector<std::int32_t> const& tokens, Matrix<S> const& table, std::int64_t first_row) {
  Matrix<S> out(static_cast<std::int64_t>(tokens.size()), table.columns);
  for (std::int64_t t = 0; t < out.rows; ++t) {
    std::int64_t const row = tokens[static_cast<std::size_t>(t)] - first_row;
    if (row < 0 || row >= table.rows) continue;
    for (std::int64_t i = 0; i < table.columns; ++i) out(t, i) = table(row, i);
  }
  return out;
}

}  // namespace jreg::oracle
