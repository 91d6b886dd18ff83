#include "jump/penalty.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "base/error.h"
#include "jump/weights.h"

namespace jreg::jump {

Penalty::Penalty(config::JregConfig const& config, std::int64_t layers)
    : is_jump_{config.penalty == "jump"},
      lambda_{config.lambda},
      warmup_steps_{config.warmup_steps},
      weights_{depth_weights(config.weights, config.penalty, layers)},
      gates_(static_cast<std::size_t>(layers), std::int8_t{0}) {}

double Penalty::lambda(std::int64_t step) const {
  if (step + 1 >= warmup_steps_) return lambda_;
  return lambda_ * static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
}

std::vector<double> Penalty::coefficients(std::int64_t step, std::int64_t tokens) const {
  expect(tokens > 0, "the global batch has tokens");
  std::size_t const layers = weights_.size();
  double const scale = lambda(step) / static_cast<double>(tokens);
  auto const gated = [this](std::size_t i) { return weights_[i] * gates_[i]; };
  std::vector<double> result(layers);
  for (std::size_t i = 0; i < layers; ++i) {
    // Psi_l is the end of the difference of layer l and the start of that of layer l + 1
    double const slope = is_jump_ ? gated(i) - (i + 1 < layers ? gated(i + 1) : 0.0) : weights_[i];
    result[i] = scale * slope;
  }
  return result;
}

double Penalty::value(JumpStatistics const& statistics) const {
  std::vector<double> const& psi = statistics.displacement;
  expect_equal(psi.size(), weights_.size(), "layers of the statistics");
  double sum = 0;
  for (std::size_t i = is_jump_ ? 1 : 0; i < psi.size(); ++i) {
    double const term = is_jump_ ? psi[i] - psi[i - 1] : psi[i];
    // written so that a NaN stays one
    sum += is_jump_ && term <= 0 ? 0 : weights_[i] * term;
  }
  return sum;
}

void Penalty::observe(JumpStatistics const& statistics) {
  std::vector<double> const& psi = statistics.displacement;
  expect_equal(psi.size(), gates_.size(), "layers of the statistics");
  if (!std::ranges::all_of(psi, [](double value) { return std::isfinite(value); })) return;
  for (std::size_t i = 1; i < psi.size(); ++i) gates_[i] = psi[i] > psi[i - 1];
}

void Penalty::set_gates(std::vector<std::int8_t> gates) {
  if (gates.size() != gates_.size()) {
    throw DataError("gates of the jump penalty: {} values for {} layers", gates.size(), gates_.size());
  }
  if (gates.front() != 0 || std::ranges::any_of(gates, [](std::int8_t gate) { return gate != 0 && gate != 1; })) {
    throw DataError("gates of the jump penalty: must be 0 or 1, and 0 for layer 1");
  }
  gates_ = std::move(gates);
}

}  // namespace jreg::jump
