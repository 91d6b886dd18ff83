#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "config/config.h"

namespace jreg::config {

/// Sets `options` from an INI file ([section] and key = value, # comments; CRLF and a BOM are accepted).
/// Throws UserError for a file that cannot be read, an unknown key (with the nearest known one), a key given twice,
/// and a value that its option refuses.
void parse_file(std::filesystem::path const& file, std::vector<Option> const& options);
/// The same of such a file's text; errors begin with `name`.
void parse_text(std::string text, std::string const& name, std::vector<Option> const& options);

/// Sets `options` from "--name value", "--name=value" and "--flag"; of an option given twice the last one counts.
/// Returns the words that belong to no option; `positional` = false refuses them.
std::vector<std::string> parse_arguments(std::span<std::string const> arguments, std::vector<Option> const& options,
                                         bool positional);

/// The value that "--name" has among the arguments, or "" (used to find --config before its keys are overridden).
std::string find_argument(std::span<std::string const> arguments, std::string const& name);

/// The options (each with a section) as an INI file that parse_file reads back to the same values. Throws UserError for
/// a value that such a file cannot keep.
std::string ini_text(std::vector<Option> const& options);

/// The options with their defaults as the body of a --help text.
std::string help_text(std::vector<Option> const& options);

}  // namespace jreg::config
