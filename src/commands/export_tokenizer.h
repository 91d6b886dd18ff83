#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace jreg::commands {

/// The tokenizer's part of an exported folder.
struct ExportedTokenizer {
  std::vector<std::pair<std::string, std::string>> files;  // name and content
  std::optional<std::int64_t> bos;
  std::optional<std::int64_t> eos;
  std::int64_t vocab = 0;  // ids are below it, as far as the files tell
  std::string sentence;    // what it is, for people
};

/// `path`: a folder with tokenizer files of Hugging Face's, which are taken as they are, or a SentencePiece model,
/// which gets a tokenizer_config.json beside it. `context`: the model's longest text in tokens. Throws UserError where
/// there is no tokenizer, DataError where a file of it is damaged.
ExportedTokenizer read_tokenizer(std::filesystem::path const& path, std::int64_t context);

}  // namespace jreg::commands
