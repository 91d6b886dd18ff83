#pragma once

#include <string>
#include <vector>

namespace jreg::config {

/// One entry of data.sources.
struct Source {
  std::string path;
  double weight = 0;  // >= 0, as given
};

/// "PATH:WEIGHT, PATH:WEIGHT, ...". Throws UserError for an entry without path or weight, a weight that is no finite
/// number or negative, and weights that sum to 0.
std::vector<Source> parse_sources(std::string const& text);

}  // namespace jreg::config
