// config.json of Hugging Face's. Input: the file.
#include <cmath>

#include "config/validate.h"
#include "fuzz/fuzz.h"
#include "store/huggingface_config.h"

namespace jreg::fuzz {
namespace {

std::string text_of(config::ModelConfig model) {
  std::string text;
  for (config::Option const& option : config::options_of(model)) text += option.name + "=" + option.get() + "\n";
  return text;
}

/// A model that the program's own options would take, too.
void check_accepted(config::Config const& config) {
  config::ModelConfig const& model = config.model;
  must_hold(model.layers > 0 && model.hidden > 0 && model.ffn > 0 && model.vocab > 1, "sizes are positive");
  must_hold(model.heads % model.kv_heads == 0 && model.head_size % 2 == 0, "heads divide");
  must_hold(std::isfinite(model.rope_theta) && model.rope_theta > 0, "theta is a positive number");
  must_hold(std::isfinite(model.norm_eps) && model.norm_eps > 0, "epsilon is a positive number");
  config::ModelConfig copy = model;
  for (config::Option const& option : config::options_of(copy)) option.set(option.get());
  config::validate_model(model);
  std::string const written = store::huggingface_config(
      model, {.context = config.train.sequence_length, .dtype = "float32", .bos = std::nullopt, .eos = std::nullopt});
  config::Config const again = store::parse_huggingface_config(written, "written");
  must_hold(text_of(again.model) == text_of(model), "what is written reads back equal");
  must_hold(again.train.sequence_length == config.train.sequence_length, "and the context, too");
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg;
  config::Config config;
  if (!fuzz::accepts([&] { config = store::parse_huggingface_config(fuzz::text_of(data, size), "input"); })) return 0;
  fuzz::must_hold(fuzz::accepts([&] { fuzz::check_accepted(config); }), "an accepted model is one for the program");
  return 0;
}
