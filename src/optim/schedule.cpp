#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace jreg::optim {

Schedule::Schedule(config::OptimConfig const& config, std::int64_t total_steps)
    : shape_{config.schedule == "cosine"     ? Shape::cosine
             : config.schedule == "constant" ? Shape::constant
                                             : Shape::linear},
      peak_{config.learning_rate},
      minimum_{config.min_learning_rate},
      warmup_steps_{config.warmup_steps},
      decay_begin_{std::max<std::int64_t>(config.warmup_steps - 1, 0)},
      last_{total_steps - 1} {
  if (config.schedule == "wsd") {
    std::int64_t const decay =
        config.decay_steps > 0 ? config.decay_steps : std::max<std::int64_t>(total_steps / 10, 1);
    decay_begin_ = std::max(decay_begin_, last_ - decay);
  }
}

double Schedule::at(std::int64_t step) const {
  expect(step >= 0, "updates count from 0");
  step = std::min(step, std::max<std::int64_t>(last_, 0));
  if (step < warmup_steps_) return peak_ * static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
  if (shape_ == Shape::constant || step <= decay_begin_ || last_ <= decay_begin_) return peak_;
  double const progress =
      std::min(1.0, static_cast<double>(step - decay_begin_) / static_cast<double>(last_ - decay_begin_));
  double const height = shape_ == Shape::cosine ? (1 + std::cos(std::numbers::pi * progress)) / 2 : 1 - progress;
  return minimum_ + (peak_ - minimum_) * height;
}

}  // namespace jreg::optim
