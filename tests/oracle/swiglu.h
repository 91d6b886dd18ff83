#pragma once

#include "oracle/matrix.h"

namespace jreg::oracle {

/// gate_up (T, 2F): silu(gate) * up, silu(x) = x / (1 + e^-x).
template <class S> Matrix<S> swiglu(Matrix<S> const& gate_up) {
  using std::exp;
  std::int64_t const width = gate_up.columns / 2;
  Matrix<S> out(gate_up.rows, width);
  for (std::int64_t t = 0; t < gate_up.rows; ++t) {
    for (std::int64_t i = 0; i < width; ++i) {
      S const gate = gate_up(t, i);
      out(t, i) = gate / (1.0 + exp(-gate)) * gate_up(t, width + i);
    }
  }
  return out;
}

}  // namespace jreg::oracle
