#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"

namespace jreg::model {

/// Angular frequency of each of the head_size / 2 pairs: theta^(-2i / head_size), with Llama 3.1's scaling where
/// asked for (as in transformers' modeling_rope_utils: low frequencies divided by factor, a smooth band between).
std::vector<double> rope_frequencies(config::ModelConfig const& model);

/// Cosines and sines of position * frequency, (sequence, head_size / 2) each, computed in double.
struct RopeTable {
  std::vector<float> cosine;
  std::vector<float> sine;
};
RopeTable rope_table(config::ModelConfig const& model, std::int64_t sequence);

}  // namespace jreg::model
