#pragma once

#include <cmath>
#include <limits>

#include "store/trajectory.h"

// Rows whose values follow from their step, so that a reader in any language knows what to expect.
namespace jreg::test {

inline std::vector<double> per_layer(std::int64_t step, std::int64_t count, double offset) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(offset + static_cast<double>(step) + static_cast<double>(i) / 1024);
  }
  return values;
}

inline std::vector<double> jump_rates(std::int64_t step, std::int64_t layers) {
  std::vector<double> values = per_layer(step, layers, 2);
  values.front() = std::numeric_limits<double>::quiet_NaN();
  return values;
}

inline store::TrainRow train_row(std::int64_t step, std::int64_t layers) {
  auto const x = static_cast<double>(step);
  return {.step = step,
          .tokens = step * 2048,
          .loss = 10 / (x + 1),
          .jreg = x / 4,
          .jreg_lambda = x / 8,
          .learning_rate = x / 16,
          .grad_norm = x / 32,
          .tokens_per_second = x * 64,
          .displacement = per_layer(step, layers, 1),
          .jump_rate = jump_rates(step, layers),
          .hidden_norm = per_layer(step, layers + 1, 3)};
}

inline store::ValidationRow validation_row(std::int64_t step) {
  return {step, 5 / (static_cast<double>(step) + 1)};
}

inline store::ProbeRow probe_row(std::int64_t step, std::int64_t layers) {
  store::ProbeRow row{.step = step,
                      .loss = 7 / (static_cast<double>(step) + 1),
                      .displacement = per_layer(step, layers, 1),
                      .jump_rate = jump_rates(step, layers),
                      .angle = per_layer(step, layers, 4),
                      .relative_update = per_layer(step, layers, 5),
                      .cosine_std = per_layer(step, layers, 6),
                      .displacement_histogram = {}};
  for (std::int64_t i = 0; i < layers * store::histogram_bins; ++i) row.displacement_histogram.push_back(step + i);
  return row;
}

/// Train rows 1..steps, a validation row each 10 and a probe row each 4 steps.
inline store::Trajectory make_trajectory(std::int64_t steps, std::int64_t layers) {
  store::Trajectory trajectory{layers};
  for (std::int64_t step = 0; step <= steps; ++step) {
    if (step > 0) trajectory.append(train_row(step, layers));
    if (step % 10 == 0) trajectory.append(validation_row(step));
    if (step % 4 == 0) trajectory.append(probe_row(step, layers));
  }
  return trajectory;
}

/// Equal to the bit, so that NaN equals NaN.
inline bool same_table(store::Table const& a, store::Table const& b) {
  if (a.rows() != b.rows() || a.layers() != b.layers() || a.columns().data() != b.columns().data()) return false;
  for (std::size_t c = 0; c < a.columns().size(); ++c) {
    auto const bytes = [c](store::Table const& table) {
      return std::visit([](auto const& values) { return std::as_bytes(values); }, table.whole(c));
    };
    auto const left = bytes(a);
    auto const right = bytes(b);
    if (!std::equal(left.begin(), left.end(), right.begin(), right.end())) return false;
  }
  return true;
}

inline bool same_trajectory(store::Trajectory const& a, store::Trajectory const& b) {
  return same_table(a.train(), b.train()) && same_table(a.validation(), b.validation()) &&
         same_table(a.probe(), b.probe());
}

}  // namespace jreg::test
