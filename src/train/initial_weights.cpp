#include "train/initial_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/log.h"
#include "store/model_files.h"
#include "train/weights.h"

namespace jreg::train {
namespace {

/// Keys that do not count where nothing is scaled.
bool is_scaling_detail(std::string const& key) {
  return key.starts_with("model.rope_scaling.") && key != "model.rope_scaling.type";
}

void check_architecture(config::ModelConfig ours, config::ModelConfig theirs, std::filesystem::path const& path) {
  bool const scaled = theirs.rope_scaling.type != "none";
  std::vector<config::Option> const mine = config::options_of(ours);
  std::vector<config::Option> const given = config::options_of(theirs);
  std::vector<std::string> differing;
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    std::string const& key = mine[i].name;
    // Only weights that are drawn have a standard deviation.
    bool const ignored = key == "model.init_std" || (is_scaling_detail(key) && !scaled);
    if (ignored || mine[i].get() == given[i].get()) continue;
    differing.push_back(fmt::format("{} = {}", key, mine[i].get()));
    wanted.push_back(fmt::format("{} = {}", key, given[i].get()));
  }
  if (differing.empty()) return;
  throw UserError("--init {}: its model is not that of the config, which has {}: put {} there", path.string(),
                  fmt::join(differing, ", "), fmt::join(wanted, ", "));
}

}  // namespace

void check_initial_model(config::ModelConfig const& config, std::filesystem::path const& model) {
  check_architecture(config, store::open_model(model).config.model, model);
}

void load_initial_weights(TrainingSession& session, std::filesystem::path const& model) {
  store::ModelFiles const files = store::open_model(model);
  check_architecture(session.config().model, files.config.model, model);
  load_weights(*files.tensors, session.store().registry(), [&](params::Range range, float const* values) {
    session.adamw().write(optim::StateKind::weight, range, values);
  });
  log::info("initial weights from {}{}", files.tensors->folder().string(),
            files.step >= 0 ? fmt::format(", step {}", files.step) : "");
}

}  // namespace jreg::train
