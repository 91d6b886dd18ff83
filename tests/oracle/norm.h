#pragma once

#include "oracle/matrix.h"

namespace jreg::oracle {

template <class S> struct Normed {
  Matrix<S> normed;  // (T, H)
  Matrix<S> rstd;    // (1, T)
};

/// Llama's RMSNorm: h / sqrt(mean(h^2) + eps) * gain.
template <class S> Normed<S> rms_norm(Matrix<S> const& h, Matrix<S> const& gain, double eps) {
  using std::sqrt;
  Normed<S> result{Matrix<S>(h.rows, h.columns), Matrix<S>(1, h.rows)};
  for (std::int64_t t = 0; t < h.rows; ++t) {
    S squares{};
    for (std::int64_t i = 0; i < h.columns; ++i) squares += h(t, i) * h(t, i);
    S const rstd = 1.0 / sqrt(squares / static_cast<double>(h.columns) + eps);
    result.rstd(0, t) = rstd;
    for (std::int64_t i = 0; i < h.columns; ++i) result.normed(t, i) = h(t, i) * rstd * gain(0, i);
  }
  return result;
}

/// |h| of each token, as an analytic function.
template <class S> Matrix<S> norms(Matrix<S> const& h) {
  using std::sqrt;
  Matrix<S> result(1, h.rows);
  for (std::int64_t t = 0; t < h.rows; ++t) {
    S squares{};
    for (std::int64_t i = 0; i < h.columns; ++i) squares += h(t, i) * h(t, i);
    result(0, t) = sqrt(squares);
  }
  return result;
}

template <class S> Matrix<S> difference(Matrix<S> const& a, Matrix<S> const& b) {
  Matrix<S> result(a.rows, a.columns);
  for (std::size_t i = 0; i < a.values.size(); ++i) result.values[i] = a.values[i] - b.values[i];
  return result;
}

/// Psi = (1 - cos(a, b)) / 2 of each token, straight from the definition; 0 where a vector has no direction.
template <class S> Matrix<S> displacements(Matrix<S> const& a, Matrix<S> const& b) {
  Matrix<S> const a_norm = norms(a);
  Matrix<S> const b_norm = norms(b);
  Matrix<S> result(1, a.rows);
  for (std::int64_t t = 0; t < a.rows; ++t) {
    if (real_part(a_norm(0, t)) < 1e-12 || real_part(b_norm(0, t)) < 1e-12) continue;
    S dot{};
    for (std::int64_t i = 0; i < a.columns; ++i) dot += a(t, i) * b(t, i);
    result(0, t) = (1.0 - dot / (a_norm(0, t) * b_norm(0, t))) / 2.0;
  }
  return result;
}

template <class S> S total(Matrix<S> const& values) {
  S sum{};
  for (S const& value : values.values) sum += value;
  return sum;
}

}  // namespace jreg::oracle
