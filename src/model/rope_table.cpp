#include "model/rope_table.h"

#include <cmath>
#include <numbers>

namespace jreg::model {

std::vector<double> rope_frequencies(config::ModelConfig const& model) {
  std::vector<double> frequencies;
  config::RopeScalingConfig const& scaling = model.rope_scaling;
  for (std::int64_t pair = 0; pair < model.head_size / 2; ++pair) {
    double const exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(model.head_size);
    double frequency = std::pow(model.rope_theta, -exponent);
    if (scaling.type == "llama3") {
      double const wavelength = 2.0 * std::numbers::pi / frequency;
      auto const context = static_cast<double>(scaling.original_max_position_embeddings);
      if (wavelength > context / scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (wavelength >= context / scaling.high_freq_factor) {
        double const smooth =
            (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RopeTable rope_table(config::ModelConfig const& model, std::int64_t sequence) {
  std::vector<double> const frequencies = rope_frequencies(model);
  RopeTable table;
  for (std::int64_t position = 0; position < sequence; ++position) {
    for (double const frequency : frequencies) {
      double const angle = static_cast<double>(position) * frequency;
      table.cosine.push_back(static_cast<float>(std::cos(angle)));
      table.sine.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return table;
}

}  // namespace jreg::model
