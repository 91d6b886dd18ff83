#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "config/config.h"
#include "store/trajectory.h"

namespace jreg::store {

/// What an exported folder's README.md tells.
struct ModelCard {
  std::string name;
  config::Config config;  // of the run
  std::int64_t parameters = 0;
  std::int64_t step = -1;                  // updates; -1: not known
  std::int64_t tokens = -1;                // trained on; -1: not known
  std::string dtype;                       // of the weights
  std::string tokenizer;                   // a sentence on it
  Trajectory const* trajectory = nullptr;  // the run's history, or null
};

/// The README.md, in Markdown with the front matter that model hubs read: the architecture, and displacement and jump
/// rate of each layer as the last probe of the run found them.
std::string model_card(ModelCard const& card);

/// Stands in every card, and so tells a folder that was exported from any other model's.
inline constexpr std::string_view model_card_mark = "A Llama in Hugging Face's format, written by jreg";

}  // namespace jreg::store
