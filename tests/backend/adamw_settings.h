#pragma once

#include <cmath>

#include "backend/ops.h"
#include "oracle/adamw.h"

namespace jreg::backend {

/// Gives `args` the oracle's settings for its update number `step`, from 1.
inline void set(AdamW& args, oracle::AdamWSettings const& settings, int step) {
  args.rate = static_cast<float>(settings.rate);
  args.beta1 = static_cast<float>(settings.beta1);
  args.beta2 = static_cast<float>(settings.beta2);
  args.eps = static_cast<float>(settings.eps);
  args.decay = static_cast<float>(settings.decay);
  args.correction1 = static_cast<float>(1 - std::pow(settings.beta1, step));
  args.correction2 = static_cast<float>(1 - std::pow(settings.beta2, step));
}

}  // namespace jreg::backend
