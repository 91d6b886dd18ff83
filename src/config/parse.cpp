#include "config/parse.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.h"

namespace jreg::config {
namespace po = boost::program_options;
namespace {

constexpr std::size_t largest_config_file = std::size_t{16} << 20;

po::options_description describe(std::vector<Option> const& options) {
  po::options_description description;
  for (Option const& option : options) {
    // Values stay text here: Boost's own conversions wrap negative numbers and accept NaN.
    if (option.rule.flag) {
      description.add_options()(option.name.c_str(), "");
    } else {
      description.add_options()(option.name.c_str(), po::value<std::string>(), "");
    }
  }
  return description;
}

Option const* find(std::vector<Option> const& options, std::string const& name) {
  auto const at = std::ranges::find(options, name, &Option::name);
  return at == options.end() ? nullptr : &*at;
}

[[noreturn]] void refuse_unknown(std::string const& where, std::string const& name,
                                 std::vector<Option> const& options) {
  std::string const nearest = nearest_name(name, options);
  throw UserError("{}: unknown option {}{}", where, name,
                  nearest.empty() ? std::string{} : fmt::format("; did you mean {}?", nearest));
}

std::string read_text(std::filesystem::path const& file) {
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) throw UserError("{}: is a folder, not a config file", file.string());
  std::ifstream stream{file, std::ios::binary};
  if (!stream) throw UserError("{}: cannot be read: {}", file.string(), std::strerror(errno));
  if (auto const size = std::filesystem::file_size(file, error); !error && size > largest_config_file) {
    throw UserError("{}: {} bytes are too many for a config file", file.string(), size);
  }
  return {std::istreambuf_iterator<char>{stream}, {}};
}

/// Whether a value comes back unchanged from a config file, where # begins a comment and blanks around are dropped.
bool survives_file(std::string const& value) {
  constexpr char const* blanks = " \t";  // those that Boost drops
  if (value.find_first_of("#\r\n") != std::string::npos) return false;
  return value.empty() || (value.find_first_of(blanks) != 0 && value.find_last_of(blanks) != value.size() - 1);
}

/// The words of `text` in lines of at most 100 columns, each behind six blanks.
std::string wrapped(std::string const& text) {
  constexpr std::size_t columns = 94;
  std::string lines;
  std::size_t width = 0;
  std::istringstream words{text};
  for (std::string word; words >> word;) {
    if (width > 0 && width + 1 + word.size() > columns) {
      lines += '\n';
      width = 0;
    }
    lines += (width == 0 ? "      " : " ") + word;
    width += word.size() + (width == 0 ? 0 : 1);
  }
  return lines + '\n';
}

}  // namespace

void parse_file(std::filesystem::path const& file, std::vector<Option> const& options) {
  parse_text(read_text(file), file.string(), options);
}

void parse_text(std::string text, std::string const& name, std::vector<Option> const& options) {
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  std::erase(text, '\r');
  std::istringstream stream{text};
  po::parsed_options const parsed = [&] {
    try {
      return po::parse_config_file(stream, describe(options), true);
    } catch (po::error const& error) {
      throw UserError("{}: {}", name, error.what());
    }
  }();
  std::set<std::string> seen;
  for (auto const& entry : parsed.options) {
    Option const* const option = find(options, entry.string_key);
    if (option == nullptr || option->rule.flag) refuse_unknown(name, entry.string_key, options);
    if (!seen.insert(entry.string_key).second) throw UserError("{}: {} is given twice", name, entry.string_key);
    try {
      option->set(entry.value.empty() ? std::string{} : entry.value.front());
    } catch (UserError const& error) {
      throw UserError("{}: {}", name, error.what());
    }
  }
}

std::vector<std::string> parse_arguments(std::span<std::string const> arguments, std::vector<Option> const& options,
                                         bool positional) {
  std::vector<std::string> words;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string const& word = arguments[i];
    if (!word.starts_with("--") || word == "--") {
      if (!positional || word.starts_with("-")) throw UserError("{}: not an option; options begin with --", word);
      words.push_back(word);
      continue;
    }
    auto const equals = word.find('=');
    std::string const name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    Option const* const option = find(options, name);
    if (option == nullptr) refuse_unknown("command line", name, options);
    if (option->rule.flag) {
      if (equals != std::string::npos) throw UserError("--{}: takes no value", name);
      option->set("true");
      continue;
    }
    if (equals != std::string::npos) {
      option->set(word.substr(equals + 1));
    } else if (i + 1 < arguments.size() && !arguments[i + 1].starts_with("--")) {
      option->set(arguments[++i]);
    } else {
      throw UserError("--{}: needs a value", name);
    }
  }
  return words;
}

std::string find_argument(std::span<std::string const> arguments, std::string const& name) {
  std::string value;
  std::string const plain = "--" + name;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == plain && i + 1 < arguments.size() && !arguments[i + 1].starts_with("--")) {
      value = arguments[i + 1];
    }
    if (arguments[i].starts_with(plain + "=")) value = arguments[i].substr(plain.size() + 1);
  }
  return value;
}

std::string ini_text(std::vector<Option> const& options) {
  std::string text;
  std::string section;
  for (Option const& option : options) {
    auto const dot = option.name.find('.');
    expect(dot != std::string::npos, "ini_text: every option has a section");
    std::string const head = option.name.substr(0, dot);
    if (head != section) {
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", head);
      section = head;
    }
    std::string const value = option.get();
    if (!survives_file(value)) {
      throw UserError("{} = {}: # signs, line ends and blanks at either end cannot be kept in a config file",
                      option.name, value);
    }
    text += fmt::format("{} = {}\n", option.name.substr(dot + 1), value);
  }
  return text;
}

std::string help_text(std::vector<Option> const& options) {
  std::string text;
  for (Option const& option : options) {
    std::string const value = option.get();
    std::string head = "  --" + option.name;
    if (!option.rule.choices.empty()) head += fmt::format(" {}", fmt::join(option.rule.choices, "|"));
    if (!option.rule.flag) head += value.empty() ? std::string{} : fmt::format("  [{}]", value);
    text += head + '\n' + wrapped(option.help);
  }
  return text;
}

}  // namespace jreg::config
