#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

constexpr float tiny_norm = 1e-12F;
constexpr double two_over_pi = 0.63661977236758134308;

}  // namespace

void angular_sums(AngularRows const& rows, Tensor const& previous_norm, double* sums, Range tokens) {
  float const* const norm = values_of(rows.norm);
  double norms = 0;
#pragma omp simd reduction(+ : norms)
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) norms += static_cast<double>(norm[t]);
  sums[sum_norm] += norms;
  sums[sum_count] += static_cast<double>(tokens.end - tokens.begin);
  if (previous_norm.data == nullptr) return;

  float const* const displacement = values_of(rows.displacement);
  float const* const update = values_of(rows.update_norm);
  float const* const previous = values_of(previous_norm);
  double psi_sum = 0;
  double square_sum = 0;
  double angle_sum = 0;
  double relative_sum = 0;
#pragma omp simd reduction(+ : psi_sum, square_sum, angle_sum, relative_sum)
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    double const psi = static_cast<double>(displacement[t]);
    psi_sum += psi;
    square_sum += psi * psi;
    angle_sum += static_cast<double>(arcsine_of_root(displacement[t]));
    float const start = previous[t];
    float const divisor = start < tiny_norm ? 1.0F : start;
    float const relative = update[t] / divisor;
    relative_sum += static_cast<double>(start < tiny_norm ? 0.0F : relative);
  }
  sums[sum_displacement] += psi_sum;
  sums[sum_displacement_squared] += square_sum;
  sums[sum_angle] += two_over_pi * angle_sum;
  sums[sum_relative_update] += relative_sum;
}

double squares(float const* values, Range elements) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    double const value = static_cast<double>(values[i]);
    sum += value * value;
  }
  return sum;
}

void add_partials(float const* partials, std::int64_t count, std::int64_t columns, float* out, Range elements) {
  for (std::int64_t c = 0; c < count; ++c) {
    float const* const partial = partials + c * columns;
#pragma omp simd
    for (std::int64_t i = elements.begin; i < elements.end; ++i) out[i] += partial[i];
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
