#include "config/option.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace jreg::config {
namespace {

std::string range_text(Rule const& rule) {
  bool const low = std::isfinite(rule.min);
  bool const high = std::isfinite(rule.max);
  if (low && high) {
    return fmt::format("{} {} and {} {}", rule.min_excluded ? "greater than" : "at least", rule.min,
                       rule.max_excluded ? "less than" : "at most", rule.max);
  }
  if (low) return fmt::format("{} {}", rule.min_excluded ? "greater than" : "at least", rule.min);
  return fmt::format("at most {}", rule.max);
}

void check_range(std::string const& name, std::string const& text, Rule const& rule, double value) {
  bool const above = rule.min_excluded ? value > rule.min : value >= rule.min;
  bool const below = rule.max_excluded ? value < rule.max : value <= rule.max;
  if (!above || !below) throw UserError("{} = {}: must be {}", name, text, range_text(rule));
}

}  // namespace

void parse_value(std::string const& name, std::string const& text, Rule const&, bool& value) {
  if (text == "true") {
    value = true;
  } else if (text == "false") {
    value = false;
  } else {
    throw UserError("{} = {}: must be true or false", name, text);
  }
}

void parse_value(std::string const& name, std::string const& text, Rule const& rule, std::int64_t& value) {
  std::int64_t parsed = 0;
  char const* const end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error != std::errc{} || stop != end) throw UserError("{} = {}: must be a whole number", name, text);
  check_range(name, text, rule, static_cast<double>(parsed));
  value = parsed;
}

void parse_value(std::string const& name, std::string const& text, Rule const& rule, double& value) {
  double parsed = 0;
  char const* const end = text.data() + text.size();
  auto const [stop, error] = std::from_chars(text.data(), end, parsed);
  if (error != std::errc{} || stop != end || !std::isfinite(parsed)) {
    throw UserError("{} = {}: must be a finite number", name, text);
  }
  check_range(name, text, rule, parsed);
  value = parsed;
}

void parse_value(std::string const& name, std::string const& text, Rule const& rule, std::string& value) {
  if (!rule.choices.empty() && std::ranges::find(rule.choices, text) == rule.choices.end()) {
    throw UserError("{} = {}: must be one of {}", name, text, fmt::join(rule.choices, ", "));
  }
  value = text;
}

std::string value_text(bool value) {
  return value ? "true" : "false";
}
std::string value_text(std::int64_t value) {
  return fmt::format("{}", value);
}
std::string value_text(double value) {
  return fmt::format("{}", value);
}
std::string value_text(std::string const& value) {
  return value;
}

std::string nearest_name(std::string const& name, std::vector<Option> const& options) {
  auto const distance = [&name](std::string const& other) {  // Levenshtein, one row at a time
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= name.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j <= other.size(); ++j) {
        std::size_t const substitution = diagonal + (name[i - 1] == other[j - 1] ? 0 : 1);
        diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substitution}));
      }
    }
    return row.back();
  };
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(3, name.size() / 3) + 1;
  for (Option const& option : options) {
    // A key whose section was left out is nearest to the one that ends with it.
    bool const same_key = option.name.ends_with("." + name);
    std::size_t const d = same_key ? 0 : distance(option.name);
    if (d < best_distance) {
      best_distance = d;
      best = option.name;
    }
  }
  return best;
}

}  // namespace jreg::config
