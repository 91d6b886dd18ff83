#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

constexpr float tiny_norm = 1e-12F;

struct RowSums {
  float squares = 0;  // |h|^2
  float change = 0;   // |d|^2, d = h - previous
  float along = 0;    // d . (h + previous)
};

/// One pass: h = residual (+ delta), rounded and stored, and the sums of what was stored.
template <class T, bool has_delta, bool has_previous>
RowSums add_and_sum(T const* residual, T const* delta, T* hidden, T const* previous, std::int64_t columns) {
  float squares = 0;
  float change = 0;
  float along = 0;
#pragma omp simd reduction(+ : squares, change, along)
  for (std::int64_t i = 0; i < columns; ++i) {
    float h = load(residual, i);
    if constexpr (has_delta) {
      h = rounded<T>(h + load(delta, i));
      store_exact(hidden, i, h);
    }
    squares += h * h;
    if constexpr (has_previous) {
      float const p = load(previous, i);
      float const d = h - p;
      change += d * d;
      along += d * (h + p);
    }
  }
  return {squares, change, along};
}

template <class T> RowSums add_and_sum_row(ResidualNorm const& args, bool has_previous, std::int64_t token) {
  std::int64_t const columns = args.residual.columns;
  T const* const residual = row_of<T>(args.residual, token);
  T const* const previous = has_previous ? row_of<T>(args.previous, token) : nullptr;
  if (args.delta.data == nullptr) {
    return has_previous ? add_and_sum<T, false, true>(residual, nullptr, nullptr, previous, columns)
                        : add_and_sum<T, false, false>(residual, nullptr, nullptr, nullptr, columns);
  }
  T const* const delta = row_of<T>(args.delta, token);
  T* const hidden = row_of<T>(args.hidden, token);
  return has_previous ? add_and_sum<T, true, true>(residual, delta, hidden, previous, columns)
                      : add_and_sum<T, true, false>(residual, delta, hidden, nullptr, columns);
}

/// Psi from the sums of one token, in double: numerator is a difference of nearly equal numbers where the length
/// changes much more than the direction.
float displacement_of(RowSums const& sums, double norm, double previous_norm) {
  if (norm < tiny_norm || previous_norm < tiny_norm) return 0;
  double const s = static_cast<double>(sums.along) / (norm + previous_norm);
  double const psi = (static_cast<double>(sums.change) - s * s) / (4 * norm * previous_norm);
  return static_cast<float>(psi < 0 ? 0 : psi > 1 ? 1 : psi);
}

template <class T> void write_normed(T const* hidden, T const* gain, float rstd, T* normed, std::int64_t columns) {
#pragma omp simd
  for (std::int64_t i = 0; i < columns; ++i) store(normed, i, load(hidden, i) * rstd * load(gain, i));
}

template <class T> void residual_norm_rows(ResidualNorm const& args, Range tokens) {
  std::int64_t const columns = args.residual.columns;
  Tensor const& hidden = args.delta.data != nullptr ? args.hidden : args.residual;
  bool const angular = args.angular.norm.data != nullptr;
  bool const has_previous = angular && args.previous.data != nullptr;
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    RowSums const sums = add_and_sum_row<T>(args, has_previous, t);
    if (angular) {
      float const norm = __builtin_sqrtf(sums.squares);
      values_of(args.angular.norm)[t] = norm;
      if (has_previous) {
        values_of(args.angular.displacement)[t] = displacement_of(sums, norm, values_of(args.previous_norm)[t]);
        values_of(args.angular.update_norm)[t] = __builtin_sqrtf(sums.change);
      }
    }
    if (args.gain.data != nullptr) {
      float const rstd = 1.0F / __builtin_sqrtf(sums.squares / static_cast<float>(columns) + args.eps);
      values_of(args.rstd)[t] = rstd;
      write_normed(row_of<T const>(hidden, t), static_cast<T const*>(args.gain.data), rstd, row_of<T>(args.normed, t),
                   columns);
    }
  }
}

/// What one token's hidden gradient is made of: dh += rstd gain dy + own h + previous h_{l-1} + next h_{l+1}.
struct Factors {
  float rstd = 0;
  float own = 0;
  float previous = 0;
  float next = 0;
};

void add_angular_factors(AngularGradient const& angular, std::int64_t token, Factors& factors) {
  float const norm = values_of(angular.norm)[token];
  if (norm < tiny_norm) return;
  if (angular.previous.data != nullptr && values_of(angular.previous_norm)[token] >= tiny_norm) {
    float const half = 0.5F * angular.coefficient / norm;
    factors.previous -= half / values_of(angular.previous_norm)[token];
    factors.own += half * (1 - 2 * values_of(angular.displacement)[token]) / norm;
  }
  if (angular.next.data != nullptr && values_of(angular.next_norm)[token] >= tiny_norm) {
    float const half = 0.5F * angular.next_coefficient / norm;
    factors.next -= half / values_of(angular.next_norm)[token];
    factors.own += half * (1 - 2 * values_of(angular.next_displacement)[token]) / norm;
  }
}

template <class T> struct BackwardRow {
  T const* dy;
  T const* hidden;
  T const* gain;
  T const* previous;
  T const* next;
  T* dh;
  float* gain_partial;
  std::int64_t columns;
};

template <class T> float dot_with_gain(BackwardRow<T> const& row) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < row.columns; ++i) sum += load(row.gain, i) * load(row.dy, i) * load(row.hidden, i);
  return sum;
}

template <class T, bool has_norm, bool has_previous, bool has_next>
void write_gradient(BackwardRow<T> const& row, Factors const& factors, bool overwrite) {
  float const keep = overwrite ? 0.0F : 1.0F;
  T* const dh = row.dh;
#pragma omp simd
  for (std::int64_t i = 0; i < row.columns; ++i) {
    float const h = load(row.hidden, i);
    float gradient = factors.own * h;
    if constexpr (has_norm) {
      float const dy = load(row.dy, i);
      gradient += factors.rstd * load(row.gain, i) * dy;
      row.gain_partial[i] += factors.rstd * dy * h;
    }
    if constexpr (has_previous) gradient += factors.previous * load(row.previous, i);
    if constexpr (has_next) gradient += factors.next * load(row.next, i);
    // A select, not a product: what is overwritten may be NaN.
    store(dh, i, gradient + (keep != 0.0F ? load(dh, i) : 0.0F));
  }
}

template <class T, bool has_norm>
void write_gradient_row(BackwardRow<T> const& row, Factors const& factors, bool overwrite) {
  if (row.previous != nullptr && row.next != nullptr) {
    write_gradient<T, has_norm, true, true>(row, factors, overwrite);
  } else if (row.previous != nullptr) {
    write_gradient<T, has_norm, true, false>(row, factors, overwrite);
  } else if (row.next != nullptr) {
    write_gradient<T, has_norm, false, true>(row, factors, overwrite);
  } else {
    write_gradient<T, has_norm, false, false>(row, factors, overwrite);
  }
}

template <class T> void norm_backward_rows(NormBackward const& args, float* gain_partial, Range tokens) {
  AngularGradient const& angular = args.angular;
  bool const has_norm = args.normed_gradient.data != nullptr;
  bool const has_previous = args.has_angular && angular.previous.data != nullptr;
  bool const has_next = args.has_angular && angular.next.data != nullptr;
  std::int64_t const columns = args.hidden.columns;
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    BackwardRow<T> const row{has_norm ? row_of<T const>(args.normed_gradient, t) : nullptr,
                             row_of<T const>(args.hidden, t),
                             static_cast<T const*>(args.gain.data),
                             has_previous ? row_of<T const>(angular.previous, t) : nullptr,
                             has_next ? row_of<T const>(angular.next, t) : nullptr,
                             row_of<T>(args.hidden_gradient, t),
                             gain_partial,
                             columns};
    Factors factors;
    if (has_norm) {
      float const rstd = values_of(args.rstd)[t];
      factors.rstd = rstd;
      factors.own = -rstd * rstd * rstd * dot_with_gain(row) / static_cast<float>(columns);
    }
    if (args.has_angular) add_angular_factors(angular, t, factors);
    if (has_norm) {
      write_gradient_row<T, true>(row, factors, args.overwrite);
    } else {
      write_gradient_row<T, false>(row, factors, args.overwrite);
    }
  }
}

}  // namespace

void residual_norm(ResidualNorm const& args, Range tokens) {
  if (args.residual.dtype == DType::f32) {
    residual_norm_rows<float>(args, tokens);
  } else {
    residual_norm_rows<bfloat16>(args, tokens);
  }
}

void norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed, Range tokens) {
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    if (hidden.dtype == DType::f32) {
      write_normed(row_of<float const>(hidden, t), static_cast<float const*>(gain.data), values_of(rstd)[t],
                   row_of<float>(normed, t), hidden.columns);
    } else {
      write_normed(row_of<bfloat16 const>(hidden, t), static_cast<bfloat16 const*>(gain.data), values_of(rstd)[t],
                   row_of<bfloat16>(normed, t), hidden.columns);
    }
  }
}

void norm_backward(NormBackward const& args, float* gain_partial, Range tokens) {
  if (args.hidden.dtype == DType::f32) {
    norm_backward_rows<float>(args, gain_partial, tokens);
  } else {
    norm_backward_rows<bfloat16>(args, gain_partial, tokens);
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
