#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace jreg::config {

/// What values an option accepts beside its type.
struct Rule {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool min_excluded = false;
  bool max_excluded = false;
  std::vector<std::string> choices{};  // for text: one of these
  bool flag = false;                   // for bool: named without a value, "--benchmark"

  static Rule any() { return {}; }
  static Rule at_least(double low) { return {.min = low}; }
  static Rule positive() { return {.min = 0, .min_excluded = true}; }
  static Rule between(double low, double high) { return {.min = low, .max = high}; }
  /// low <= value < high
  static Rule below(double low, double high) { return {.min = low, .max = high, .max_excluded = true}; }
  static Rule one_of(std::vector<std::string> names) { return {.choices = std::move(names)}; }
  static Rule is_flag() { return {.flag = true}; }
};

/// One option, bound to the variable that holds its value.
struct Option {
  std::string name;  // "optim.learning_rate" or "resume"
  std::string help;
  Rule rule;
  std::function<void(std::string const&)> set;  // throws UserError naming option, value and what is accepted
  std::function<std::string()> get;             // text that set() accepts and that gives the same value back
};

/// Parses text strictly (whole text, no NaN, no wrap-around) and checks the rule. Each throws UserError.
void parse_value(std::string const& name, std::string const& text, Rule const& rule, bool& value);
void parse_value(std::string const& name, std::string const& text, Rule const& rule, std::int64_t& value);
void parse_value(std::string const& name, std::string const& text, Rule const& rule, double& value);
void parse_value(std::string const& name, std::string const& text, Rule const& rule, std::string& value);

std::string value_text(bool value);
std::string value_text(std::int64_t value);
std::string value_text(double value);  // shortest text that reads back to the same double
std::string value_text(std::string const& value);

/// Collects what `holder.each(visit)` declares. The options refer into `holder`, which must outlive them.
template <class Holder> std::vector<Option> options_of(Holder& holder) {
  std::vector<Option> options;
  holder.each([&options](std::string const& name, auto& value, Rule const& rule, std::string const& help) {
    options.push_back({name, help, rule,
                       [&value, name, rule](std::string const& text) { parse_value(name, text, rule, value); },
                       [&value] { return value_text(value); }});
  });
  return options;
}

/// The name among `options` nearest to `name` (edit distance), or "" when none is near.
std::string nearest_name(std::string const& name, std::vector<Option> const& options);

}  // namespace jreg::config
