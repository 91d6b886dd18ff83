#include "commands/export_tokenizer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "data/sentencepiece_tokenizer.h"
#include "store/files.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::int64_t largest_file = std::int64_t{256} << 20;

// Whatever of these a folder has.
constexpr std::array copied{"tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json",
                            "tokenizer.model", "added_tokens.json",     "vocab.json",
                            "merges.txt",      "chat_template.jinja"};
// One of these makes a folder a tokenizer.
constexpr std::array essential{"tokenizer.json", "tokenizer.model", "vocab.json"};

/// A JSON file among the copied ones; an empty object where it is not there.
json parse(ExportedTokenizer const& tokenizer, std::string const& name, fs::path const& folder) {
  auto const file = std::ranges::find(tokenizer.files, name, &std::pair<std::string, std::string>::first);
  if (file == tokenizer.files.end()) return json::object();
  json parsed = json::parse(file->second, nullptr, false);
  if (!parsed.is_object()) throw DataError("{}: is no JSON object", (folder / name).string());
  return parsed;
}

/// The text of a special token, which stands there by itself or as an object with its properties.
std::string token_text(json const& config, char const* key) {
  json const token = config.value(key, json());
  json const text = token.is_object() ? token.value("content", json()) : token;
  return text.is_string() ? text.get<std::string>() : "";
}

/// Ids of the tokens that tokenizer.json lists.
class KnownTokens {
public:
  explicit KnownTokens(json const& tokenizer) {
    json const model = tokenizer.value("model", json::object());
    if (model.is_object() && model.value("vocab", json()).is_object()) {
      for (auto const& [text, id] : model.at("vocab").items()) add(text, id);
    }
    json const added = tokenizer.value("added_tokens", json::array());
    for (json const& token : added) {
      if (token.is_object()) add(token.value("content", json()), token.value("id", json()));
    }
  }
  std::optional<std::int64_t> find(std::string const& text) const {
    auto const at = ids_.find(text);
    return at == ids_.end() ? std::nullopt : std::optional{at->second};
  }
  std::int64_t size() const { return size_; }

private:
  void add(json const& text, json const& id) {
    if (!text.is_string() || !id.is_number_unsigned()) return;
    ids_[text.get<std::string>()] = id.get<std::int64_t>();
    size_ = std::max(size_, id.get<std::int64_t>() + 1);
  }
  std::map<std::string, std::int64_t> ids_;
  std::int64_t size_ = 0;
};

ExportedTokenizer copy_folder(fs::path const& folder) {
  ExportedTokenizer tokenizer;
  std::error_code error;
  for (char const* const name : copied) {
    if (fs::exists(folder / name, error)) {
      tokenizer.files.emplace_back(name, store::read_text(folder / name, largest_file));
    }
  }
  bool const complete = std::ranges::any_of(essential, [&](char const* name) {
    return std::ranges::find(tokenizer.files, name, &std::pair<std::string, std::string>::first) !=
           tokenizer.files.end();
  });
  if (!complete) {
    throw UserError("--tokenizer {}: the folder has none of tokenizer.json, tokenizer.model and vocab.json",
                    folder.string());
  }
  KnownTokens const known{parse(tokenizer, "tokenizer.json", folder)};
  json const config = parse(tokenizer, "tokenizer_config.json", folder);
  tokenizer.vocab = known.size();
  tokenizer.bos = known.find(token_text(config, "bos_token"));
  tokenizer.eos = known.find(token_text(config, "eos_token"));
  if (!tokenizer.eos) {
    log::warning("{}: which id ends a text is not clear; eos_token_id of the export is null", folder.string());
  }
  tokenizer.sentence = "Files of Hugging Face's, as they were given to the export.";
  return tokenizer;
}

ExportedTokenizer wrap_sentencepiece(fs::path const& file, std::int64_t context) {
  ExportedTokenizer tokenizer;
  tokenizer.files.emplace_back("tokenizer.model", store::read_text(file, largest_file));
  data::SentencePieceTokenizer const pieces{tokenizer.files.front().second, file.string()};
  nlohmann::ordered_json config{{"tokenizer_class", "LlamaTokenizer"},
                                {"model_max_length", context},
                                {"add_bos_token", false},
                                {"add_eos_token", false},
                                {"add_prefix_space", pieces.adds_space()},
                                {"clean_up_tokenization_spaces", false},
                                {"legacy", false}};
  auto const name = [&](char const* key, std::int32_t id) {
    config[key] = id >= 0 ? nlohmann::ordered_json(pieces.piece(id)) : nlohmann::ordered_json();
  };
  name("unk_token", pieces.unknown());
  name("bos_token", pieces.bos());
  name("eos_token", pieces.eos());
  tokenizer.files.emplace_back("tokenizer_config.json", config.dump(2) + "\n");
  if (pieces.bos() >= 0) tokenizer.bos = pieces.bos();
  tokenizer.eos = pieces.eos();
  tokenizer.vocab = pieces.vocab();
  tokenizer.sentence =
      "A SentencePiece model; documents end with its end-of-sentence token, and none is put before them.";
  if (pieces.normalises()) {
    log::warning(
        "{}: changes characters or spaces of a text before it is split, which transformers does not do: "
        "there the ids of such texts differ",
        file.string());
  }
  return tokenizer;
}

}  // namespace

ExportedTokenizer read_tokenizer(fs::path const& path, std::int64_t context) {
  std::error_code error;
  if (!fs::exists(path, error)) throw UserError("--tokenizer {}: is not there", path.string());
  return fs::is_directory(path, error) ? copy_folder(path) : wrap_sentencepiece(path, context);
}

}  // namespace jreg::commands
