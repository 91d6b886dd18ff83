#include "data/text_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "base/error.h"
#include "data/memory_tokens.h"
#include "data/scratch.h"
#include "data/sentencepiece_tokenizer.h"

namespace jreg::data {
namespace {

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "word" + std::to_string(i * i) + "  two spaces, caf\xc3\xa9 \xe2\x88\x9e\n";
  return text;
}

/// Documents joined as jreg tokenize writes them.
MemoryTokens joined(std::vector<std::string> const& documents, Tokenizer const& tokenizer) {
  std::vector<std::int32_t> ids;
  for (std::string const& document : documents) {
    auto const more = tokenizer.encode(document);
    ids.insert(ids.end(), more.begin(), more.end());
    ids.push_back(tokenizer.eos());
  }
  return {"joined", std::move(ids)};
}

void expect_exact(Tokenizer const& tokenizer) {
  std::vector<std::string> const documents{"one two", " begins with a space", "\xf0\x9f\xa6\x99 beyond any piece",
                                           sample_text()};
  std::int64_t wanted = 0;
  for (std::string const& document : documents) wanted += std::ssize(document);
  MemoryTokens const tokens = joined(documents, tokenizer);
  EXPECT_EQ(count_text_bytes(tokens, 0, tokens.tokens(), tokenizer), wanted);
  // In two parts that meet anywhere, a document's border included.
  for (std::int64_t border = 0; border < std::min<std::int64_t>(tokens.tokens(), 60); ++border) {
    EXPECT_EQ(count_text_bytes(tokens, 0, border, tokenizer) +
                  count_text_bytes(tokens, border, tokens.tokens() - border, tokenizer),
              wanted)
        << border;
  }
}

TEST(TextBytes, OfBytesAreThoseOfTheText) {
  expect_exact(ByteTokenizer{});
}

TEST(TextBytes, OfPiecesAreThoseOfTheText) {
  std::vector<std::string> lines;
  std::string const text = sample_text();
  for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
    lines.push_back(text.substr(begin, text.find('\n', begin) - begin));
  }
  expect_exact(SentencePieceTokenizer{train_sentencepiece(lines, 300), "trained"});
}

TEST(TextBytes, RefuseTokensOfAnotherVocabulary) {
  MemoryTokens const tokens{"other", {1, 2, 300}};
  EXPECT_THROW(count_text_bytes(tokens, 0, 3, ByteTokenizer{}), DataError);
}

TEST(FindDescription, TakesOnlyWhatTellsOfTheseTokens) {
  Scratch const folder;
  std::string const prefix = folder / "corpus_train";
  EXPECT_EQ(find_description(prefix, 10), std::nullopt);
  auto const write = [&](std::string const& name, std::string const& text) { std::ofstream{folder / name} << text; };
  for (char const* const bad : {"", "{", "[]", R"({"files": 3})", R"({"files": [{}], "tokenizer": "byte"})",
                                R"({"files": [{"prefix": "a/corpus_train", "tokens": 11, "text_bytes": 7}],
                                    "tokenizer": "byte"})",
                                R"({"files": [{"prefix": "a/corpus", "tokens": 10, "text_bytes": 7}],
                                    "tokenizer": "byte"})",
                                R"({"files": [{"prefix": "a/corpus_train", "tokens": 10, "text_bytes": -7}],
                                    "tokenizer": "byte"})"}) {
    write("corpus.json", bad);
    EXPECT_EQ(find_description(prefix, 10), std::nullopt) << bad;
  }
  write("corpus.json", R"({"tokenizer": "m.model", "files": [
                           {"prefix": "other/corpus_train", "tokens": 10, "text_bytes": 70},
                           {"prefix": "other/corpus_validation", "tokens": 3, "text_bytes": 20}]})");
  for (std::string const& name : {prefix, prefix + ".bin", prefix + ".idx"}) {
    auto const found = find_description(name, 10);
    ASSERT_TRUE(found.has_value()) << name;
    EXPECT_EQ(found->tokenizer, "m.model");
    EXPECT_EQ(found->text_bytes, 70);
    EXPECT_EQ(found->file, folder / "corpus.json");
  }
  EXPECT_EQ(find_description(folder / "corpus_validation", 3)->text_bytes, 20);
}

}  // namespace
}  // namespace jreg::data
