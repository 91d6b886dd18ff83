// A config file, the rules across its keys, and the depth weights that one key spells out.
#include <cmath>
#include <numeric>

#include "config/parse.h"
#include "config/validate.h"
#include "fuzz/fuzz.h"
#include "jump/weights.h"

namespace jreg::fuzz {
namespace {

using config::Config;

void check_kept(Config& config) {
  std::string const text = config::ini_text(config::options_of(config));
  Config again;
  config::parse_text(text, "written", config::options_of(again));
  must_hold(config::ini_text(config::options_of(again)) == text, "what is written reads back equal");
}

void check_weights(Config const& config) {
  constexpr std::int64_t most_layers = 1000;
  if (config.model.layers > most_layers) return;
  accepts([&] {
    auto const weights = jump::depth_weights(config.jreg.weights, config.jreg.penalty, config.model.layers);
    must_hold(std::ssize(weights) == config.model.layers, "one weight per layer");
    double const sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    must_hold(std::abs(sum - 1) < 1e-9, "the weights sum to 1");
  });
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg::fuzz;
  Config config;
  auto const options = jreg::config::options_of(config);
  if (!accepts([&] { jreg::config::parse_text(std::string{text_of(data, size)}, "input", options); })) return 0;
  check_kept(config);
  if (!accepts([&] { jreg::config::resolve(config); })) return 0;
  check_kept(config);
  for (std::int64_t const world : {1, 2, 12, 4096}) accepts([&] { jreg::config::validate(config, world); });
  check_weights(config);
  return 0;
}
