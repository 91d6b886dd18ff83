#include "data/text_bytes.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace jreg::data {
namespace fs = std::filesystem;
namespace {

constexpr std::uintmax_t largest_description = std::uintmax_t{16} << 20;

/// What `file` tells of the token file with this name and number of tokens. People may have changed it, or written
/// another file of that name: whatever does not fit is no description.
std::optional<TextDescription> read_description(std::string const& file, std::string const& name, std::int64_t tokens) {
  std::error_code error;
  if (!fs::is_regular_file(file, error) || fs::file_size(file, error) > largest_description) return std::nullopt;
  std::ifstream stream{file, std::ios::binary};
  try {
    nlohmann::json const json = nlohmann::json::parse(stream);
    for (nlohmann::json const& entry : json.at("files")) {
      if (fs::path{entry.at("prefix").get<std::string>()}.filename() != name) continue;
      if (entry.at("tokens") != tokens || !entry.at("text_bytes").is_number_unsigned()) continue;
      return TextDescription{file, json.at("tokenizer").get<std::string>(), tokens,
                             entry.at("text_bytes").get<std::int64_t>()};
    }
  } catch (nlohmann::json::exception const&) {
  }
  return std::nullopt;
}

}  // namespace

std::int64_t count_text_bytes(TokenStream const& stream, std::int64_t first, std::int64_t count,
                              Tokenizer const& tokenizer) {
  constexpr std::int64_t most = std::int64_t{1} << 20;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(std::min(count, most)));
  std::int32_t before = tokenizer.eos();
  if (first > 0) stream.read(first - 1, std::span{&before, 1}, tokenizer.vocab());
  std::int64_t bytes = 0;
  for (std::int64_t done = 0; done < count; done += std::ssize(ids)) {
    if (count - done < std::ssize(ids)) ids.resize(static_cast<std::size_t>(count - done));
    stream.read(first + done, ids, tokenizer.vocab());
    for (std::int32_t const id : ids) {
      bytes += tokenizer.text_bytes(id, before == tokenizer.eos());
      before = id;
    }
  }
  return bytes;
}

std::optional<TextDescription> find_description(std::string const& prefix, std::int64_t tokens) {
  std::string stem = prefix;
  if (stem.ends_with(".bin") || stem.ends_with(".idx")) stem.resize(stem.size() - 4);
  std::string const name = fs::path{stem}.filename().string();
  std::vector<std::string> places{stem};
  for (std::string const suffix : {"_train", "_validation"}) {
    if (stem.ends_with(suffix)) places.push_back(stem.substr(0, stem.size() - suffix.size()));
  }
  for (std::string const& place : places) {
    if (auto description = read_description(place + ".json", name, tokens)) return description;
  }
  return std::nullopt;
}

}  // namespace jreg::data
