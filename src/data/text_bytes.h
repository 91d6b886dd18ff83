#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace jreg::data {

/// Bytes of the text that tokens [first, first + count) of a stream stand for. Throws DataError where one is outside
/// the tokenizer's vocabulary.
std::int64_t count_text_bytes(TokenStream const& stream, std::int64_t first, std::int64_t count,
                              Tokenizer const& tokenizer);

/// What the description that was written beside token files tells of one of them.
struct TextDescription {
  std::string file;       // the description
  std::string tokenizer;  // "byte", or what the tokenizer's file was called
  std::int64_t tokens = 0;
  std::int64_t text_bytes = 0;
};

/// The description of the token file `prefix`: PREFIX.json, or that of the files it was split into with. Nothing where
/// there is none that tells of a file of this name with so many tokens.
std::optional<TextDescription> find_description(std::string const& prefix, std::int64_t tokens);

}  // namespace jreg::data
