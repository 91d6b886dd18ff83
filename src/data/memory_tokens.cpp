#include "data/memory_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "data/encode.h"

namespace jreg::data {

MemoryTokens MemoryTokens::of_text(std::string const& file, Tokenizer const& tokenizer) {
  std::vector<std::int32_t> ids;
  encode_corpus({.files = list_files({file})}, tokenizer,
                [&](EncodedPart const& part) { ids.insert(ids.end(), part.tokens.begin(), part.tokens.end()); });
  if (ids.empty()) throw DataError("{}: holds no text", file);
  return {file, std::move(ids)};
}

void MemoryTokens::read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const {
  std::copy_n(ids_.begin() + first_token, out.size(), out.begin());
  auto const bad = std::ranges::find_if(out, [&](std::int32_t id) { return id < 0 || id >= vocab; });
  if (bad == out.end()) return;
  throw DataError("{}: token {} is {}, outside the vocabulary of {}", name_, first_token + (bad - out.begin()), *bad,
                  vocab);
}

}  // namespace jreg::data
