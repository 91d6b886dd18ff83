#include "data/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "data/sentencepiece_tokenizer.h"

namespace jreg::data {

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  encode_part(text, true, ids);
  return ids;
}

std::size_t ByteTokenizer::next_cut(std::string_view text, std::size_t from) const {
  std::size_t const at = std::max<std::size_t>(from, 1);
  return at < text.size() ? at : std::string_view::npos;
}

void ByteTokenizer::encode_part(std::string_view part, bool, std::vector<std::int32_t>& ids) const {
  std::size_t const before = ids.size();
  ids.resize(before + part.size());
  for (std::size_t i = 0; i < part.size(); ++i) ids[before + i] = static_cast<unsigned char>(part[i]);
}

std::string ByteTokenizer::decode(std::span<std::int32_t const> ids) const {
  std::string text;
  for (std::int32_t const id : ids) {
    expect(id >= 0 && id < vocab(), "ByteTokenizer::decode: the id lies in the vocabulary");
    if (id != eos()) text += static_cast<char>(id);
  }
  return text;
}

std::int64_t ByteTokenizer::text_bytes(std::int32_t id, bool) const {
  expect(id >= 0 && id < vocab(), "ByteTokenizer::text_bytes: the id lies in the vocabulary");
  return id == eos() ? 0 : 1;
}

std::unique_ptr<Tokenizer> make_tokenizer(std::string const& name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  if (name.ends_with(".json")) {
    throw UserError(
        "--tokenizer {}: a tokenizer.json of Hugging Face is used by tools/tokenize_hf.py, which writes the "
        "same files",
        name);
  }
  return std::make_unique<SentencePieceTokenizer>(SentencePieceTokenizer::from_file(name));
}

}  // namespace jreg::data
