#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace jreg::train {

/// Updates that a profiler is to record, both ends included; counted from 1, as in the log.
struct ProfiledSteps {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// "a:b", or none where `text` is empty. Throws UserError where it is neither.
std::optional<ProfiledSteps> profiled_steps(std::string const& text);

}  // namespace jreg::train
