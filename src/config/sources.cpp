#include "config/sources.h"

#include <sstream>

#include "base/error.h"
#include "config/option.h"

namespace jreg::config {
namespace {

std::string trimmed(std::string const& text) {
  constexpr char const* blanks = " \t";
  auto const begin = text.find_first_not_of(blanks);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

Source parse_source(std::string const& text) {
  auto const colon = text.rfind(':');  // a path may hold others
  std::string const path = trimmed(text.substr(0, colon));
  if (colon == std::string::npos || path.empty()) {
    throw UserError("data.sources: \"{}\" is not PATH:WEIGHT", trimmed(text));
  }
  Source source{path, 0};
  parse_value("data.sources: weight of " + path, trimmed(text.substr(colon + 1)), Rule::at_least(0), source.weight);
  return source;
}

}  // namespace

std::vector<Source> parse_sources(std::string const& text) {
  std::vector<Source> sources;
  std::istringstream stream{text};
  double sum = 0;
  for (std::string part; std::getline(stream, part, ',');) {
    sources.push_back(parse_source(part));
    sum += sources.back().weight;
  }
  if (sources.empty() || !(sum > 0)) throw UserError("data.sources = {}: the weights sum to 0", text);
  return sources;
}

}  // namespace jreg::config
