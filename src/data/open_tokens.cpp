#include "data/open_tokens.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "data/flat_tokens.h"
#include "data/token_file.h"

namespace jreg::data {
namespace fs = std::filesystem;
namespace {

bool is_there(std::string const& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string trimmed(std::string const& text) {
  constexpr char const* blanks = " \t";
  auto const begin = text.find_first_not_of(blanks);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// Owns what glob(3) found.
struct Found {
  glob_t result{};
  Found() = default;
  Found(Found const&) = delete;
  Found& operator=(Found const&) = delete;
  ~Found() { ::globfree(&result); }
};

std::vector<std::string> matches_of(std::string const& pattern) {
  Found found;
  int const code = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &found.result);
  if (code == GLOB_NOMATCH) throw UserError("{}: matches no file", pattern);
  if (code != 0) throw_errno("cannot look for", pattern);
  std::vector<std::string> paths(found.result.gl_pathv, found.result.gl_pathv + found.result.gl_pathc);
  std::ranges::sort(paths);
  return paths;
}

/// The files that a list of paths and patterns names, in order.
std::vector<std::string> files_of(std::string const& text) {
  if (is_there(text)) return {text};
  std::vector<std::string> files;
  std::istringstream stream{text};
  for (std::string part; std::getline(stream, part, ',');) {
    std::string const path = trimmed(part);
    if (path.empty()) throw UserError("{}: names no file between two commas", text);
    if (!is_there(path) && path.find_first_of("*?[") != std::string::npos) {
      std::ranges::copy(matches_of(path), std::back_inserter(files));
    } else {
      files.push_back(path);
    }
  }
  return files;
}

bool has_index(std::string const& text) {
  bool const suffix = text.ends_with(".bin") || text.ends_with(".idx");
  return is_there((suffix ? text.substr(0, text.size() - 4) : text) + ".idx");
}

std::unique_ptr<TokenStream> open_detected(std::string const& text) {
  if (has_index(text)) return std::make_unique<TokenFile>(text);
  std::vector<std::string> const files = files_of(text);
  // No such file: a prefix, then, whose index is missing.
  if (files.size() == 1 && !is_there(files.front())) return std::make_unique<TokenFile>(text);
  if (begins_like_llmc(MappedFile{files.front()}.bytes())) {
    return std::make_unique<FlatTokens>(text, files, FlatFormat::llmc);
  }
  throw UserError(
      "{}: has no .idx beside it (Megatron) and does not begin like llm.c's files; for ids without a header give "
      "data.format = raw16 or raw32",
      files.front());
}

}  // namespace

std::unique_ptr<TokenStream> open_tokens(std::string const& text, std::string const& format) {
  if (format == "auto") return open_detected(text);
  if (format == "megatron") return std::make_unique<TokenFile>(text);
  FlatFormat const flat = format == "llmc"    ? FlatFormat::llmc
                          : format == "raw16" ? FlatFormat::raw16
                                              : FlatFormat::raw32;
  expect(flat != FlatFormat::raw32 || format == "raw32", "data.format is one that config.h lists");
  return std::make_unique<FlatTokens>(text, files_of(text), flat);
}

void check_tokens(TokenStream const& stream, std::int64_t vocab) {
  constexpr std::int64_t looked_at = std::int64_t{1} << 20;
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(stream.tokens(), looked_at)));
  stream.read(0, tokens, vocab);
}

}  // namespace jreg::data
