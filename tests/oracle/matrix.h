#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace jreg::oracle {

/// A row-major matrix of any scalar: double for values, std::complex<double> for derivatives.
template <class S> struct Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<S> values;

  Matrix() = default;
  Matrix(std::int64_t row_count, std::int64_t column_count)
      : rows{row_count}, columns{column_count}, values(static_cast<std::size_t>(row_count * column_count)) {}

  S& operator()(std::int64_t row, std::int64_t column) {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
  S const& operator()(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
};

using Real = Matrix<double>;
using Complex = Matrix<std::complex<double>>;

inline double real_part(double x) {
  return x;
}
inline double real_part(std::complex<double> const& x) {
  return x.real();
}

template <class S> Matrix<S> to(Real const& from) {
  Matrix<S> result(from.rows, from.columns);
  for (std::size_t i = 0; i < from.values.size(); ++i) result.values[i] = from.values[i];
  return result;
}

/// Normal numbers that depend on the name only.
inline Real random_matrix(std::string_view name, std::int64_t rows, std::int64_t columns, double scale = 1) {
  RandomStream const stream{7, name};
  Real result(rows, columns);
  for (std::size_t i = 0; i < result.values.size(); ++i) result.values[i] = scale * stream.normal(i);
  return result;
}

template <class S> S weighted_sum(Matrix<S> const& values, Real const& weights) {
  S sum{};
  for (std::size_t i = 0; i < values.values.size(); ++i) sum += values.values[i] * weights.values[i];
  return sum;
}

/// The derivative of f by each element of x named in `elements`, by a tiny imaginary step: no cancellation, exact to
/// rounding. (Squire, Trapp: Using complex variables to estimate derivatives of real functions, 1998.)
inline std::vector<double> imaginary_step(Real const& x, std::vector<std::size_t> const& elements,
                                          std::function<std::complex<double>(Complex const&)> const& f) {
  constexpr double step = 1e-30;
  Complex moved = to<std::complex<double>>(x);
  std::vector<double> gradient;
  for (std::size_t const i : elements) {
    moved.values[i] = {x.values[i], step};
    gradient.push_back(f(moved).imag() / step);
    moved.values[i] = x.values[i];
  }
  return gradient;
}

/// All elements of x where there are at most `limit`, otherwise that many chosen by chance.
inline std::vector<std::size_t> some_elements(Real const& x, std::size_t limit) {
  std::vector<std::size_t> elements;
  RandomStream const stream{11, "elements"};
  for (std::size_t i = 0; i < std::min(limit, x.values.size()); ++i) {
    elements.push_back(x.values.size() <= limit ? i : permuted(i, x.values.size(), stream));
  }
  return elements;
}

}  // namespace jreg::oracle
