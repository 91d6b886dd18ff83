#pragma once

#include <cmath>

namespace jreg::oracle {

struct AdamWSettings {
  double rate;
  double beta1;
  double beta2;
  double eps;
  double decay;
};

struct AdamWState {
  double weight;
  double first = 0;
  double second = 0;
};

/// Update number `step` (from 1) of one weight, as torch.optim.AdamW writes it.
inline void adamw(AdamWSettings const& settings, double gradient, int step, AdamWState& state) {
  state.weight *= 1 - settings.rate * settings.decay;
  state.first = settings.beta1 * state.first + (1 - settings.beta1) * gradient;
  state.second = settings.beta2 * state.second + (1 - settings.beta2) * gradient * gradient;
  double const first = state.first / (1 - std::pow(settings.beta1, step));
  double const second = state.second / (1 - std::pow(settings.beta2, step));
  state.weight -= settings.rate * first / (std::sqrt(second) + settings.eps);
}

}  // namespace jreg::oracle
