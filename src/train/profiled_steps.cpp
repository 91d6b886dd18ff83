#include "train/profiled_steps.h"

#include "base/error.h"
#include "config/option.h"

namespace jreg::train {

std::optional<ProfiledSteps> profiled_steps(std::string const& text) {
  if (text.empty()) return std::nullopt;
  ProfiledSteps steps;
  auto const colon = text.find(':');
  if (colon == std::string::npos) {
    throw UserError("--profile-steps {}: give the first and the last update, as in 20:22", text);
  }
  config::parse_value("profile-steps", text.substr(0, colon), config::Rule::at_least(1), steps.first);
  config::parse_value("profile-steps", text.substr(colon + 1), config::Rule::at_least(1), steps.last);
  if (steps.last < steps.first) throw UserError("--profile-steps {}: the last update comes before the first", text);
  return steps;
}

}  // namespace jreg::train
