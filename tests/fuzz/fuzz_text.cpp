// Text on its way into the tokenizer. Input: J and JSON lines, or another byte, whose lower five bits are the size of
// documents, and plain text.
#include <nlohmann/json.hpp>
#include <vector>

#include "data/encode.h"
#include "data/utf8.h"
#include "fuzz/fuzz.h"

namespace jreg::fuzz {
namespace {

using Documents = std::vector<std::string>;

/// Takes UTF-8 only, as SentencePiece does.
class Utf8Tokenizer : public data::ByteTokenizer {
public:
  bool needs_utf8() const override { return true; }
};

/// By the number that each character stands for.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    auto const byte = [&](std::size_t k) {
      return i + k < text.size() ? static_cast<std::uint32_t>(static_cast<unsigned char>(text[i + k])) : 0;
    };
    std::size_t const size = byte(0) < 0x80 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
    if ((byte(0) >= 0x80 && byte(0) < 0xC0) || byte(0) >= 0xF8) return false;
    std::uint32_t number = size == 1 ? byte(0) : byte(0) & (0x7FU >> size);
    for (std::size_t k = 1; k < size; ++k) {
      if ((byte(k) & 0xC0U) != 0x80U) return false;
      number = number << 6 | (byte(k) & 0x3FU);
    }
    constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (number < least[size] || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) return false;
    i += size;
  }
  return true;
}

/// Lines are added to a document until it is `size` bytes long or more; 0: all of them.
Documents cut(std::string_view text, std::size_t size) {
  Documents documents;
  bool open = false;
  while (!text.empty()) {
    auto const line = text.substr(0, text.find('\n'));
    auto const whole = text.substr(0, line.size() + 1);
    if (!open) documents.emplace_back();
    documents.back() += whole;
    open = size == 0 || documents.back().size() < size;
    text.remove_prefix(whole.size());
  }
  return documents;
}

Documents encode(data::EncodeJob const& job) {
  Utf8Tokenizer const tokenizer;
  Documents documents;
  bool open = false;
  data::encode_corpus(job, tokenizer, [&](data::EncodedPart const& part) {
    must_hold(part.begins_document != open, "a document begins where the last one has ended");
    if (part.begins_document) documents.emplace_back();
    documents.back() += tokenizer.decode(part.tokens);
    open = !part.ends_document;
  });
  must_hold(!open, "the last document ends");
  return documents;
}

bool sample(data::EncodeJob const& job, std::size_t bytes) {
  return accepts([&] {
    for (std::string const& line : data::sample_lines(job, static_cast<std::int64_t>(bytes), 1)) {
      must_hold(!line.empty() && is_utf8(line) && line.find('\n') == std::string::npos,
                "a tokenizer is trained on lines of text");
    }
  });
}

void read_plain(std::string_view text, std::size_t document_bytes) {
  MemoryFile const file{text};
  data::EncodeJob const job{.files = {file.path()}, .layout = {"", static_cast<std::int64_t>(document_bytes)}};
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  bool const valid = is_utf8(text);
  must_hold((data::first_invalid_utf8(text) == std::string_view::npos) == valid, "UTF-8 is recognised");
  Documents documents;
  must_hold(accepts([&] { documents = encode(job); }) == valid, "UTF-8 is accepted, nothing else");
  must_hold(!valid || documents == cut(text, document_bytes), "documents end at line ends, and nothing is lost");
  must_hold(sample(job, text.size()) == valid, "training a tokenizer accepts the same");
}

void read_lines(std::string_view text) {
  MemoryFile const file{text};
  data::EncodeJob const job{.files = {file.path()}, .layout = {"text", 0}};
  Documents documents;
  bool const accepted = accepts([&] { documents = encode(job); });
  must_hold(sample(job, text.size()) == accepted, "training a tokenizer accepts the same");
  if (!accepted) return;
  std::string written;
  for (std::string const& document : documents) {
    must_hold(is_utf8(document), "the text of a JSON line is UTF-8");
    written += nlohmann::json{{"text", document}}.dump() + "\n";
  }
  MemoryFile const again{written};
  must_hold(encode({.files = {again.path()}, .layout = {"text", 0}}) == documents, "what is written reads back equal");
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg::fuzz;
  if (size == 0) return 0;
  auto const text = text_of(data + 1, size - 1);
  if (data[0] == 'J') {
    read_lines(text);
  } else {
    read_plain(text, data[0] & 0x1FU);
  }
  return 0;
}
