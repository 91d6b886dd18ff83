#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <fstream>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "data/scratch.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

/// Text of invented words, sentences, indented lines and numbers; the same each time.
std::vector<std::string> sample_text(std::size_t lines) {
  RandomStream const random{7, "sample text"};
  std::uint64_t n = 0;
  auto const below = [&](std::uint64_t limit) { return random.bits(n++) % limit; };
  static constexpr std::array syllables{"ka", "lo", "min", "ter", "a", "s", "pre", "tion", "é", "ü"};
  std::vector<std::string> text;
  for (std::size_t i = 0; i < lines; ++i) {
    std::string line(below(4) == 0 ? 4 : 0, ' ');
    for (std::uint64_t word = 0; word < 4 + below(8); ++word) {
      if (word > 0) line += below(10) == 0 ? "  " : " ";
      for (std::uint64_t k = 0; k <= below(3); ++k) line += syllables[below(syllables.size())];
      if (below(12) == 0) line += std::to_string(below(1000));
    }
    text.push_back(line + '.');
  }
  return text;
}

std::string joined(std::vector<std::string> const& lines) {
  std::string text;
  for (std::string const& line : lines) text += line + '\n';
  return text;
}

std::string const& trained_model() {
  static std::string const model = train_sentencepiece(sample_text(500), 400);
  return model;
}

TEST(ByteTokenizer, RoundTripsEveryByte) {
  ByteTokenizer const tokenizer;
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  auto ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 256U);
  EXPECT_EQ(ids[200], 200);
  ids.push_back(tokenizer.eos());
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_EQ(tokenizer.eos(), 256);
  EXPECT_EQ(tokenizer.vocab(), 257);
  EXPECT_EQ(tokenizer.next_cut("abc", 0), 1U);
  EXPECT_EQ(tokenizer.next_cut("abc", 3), std::string_view::npos);
}

TEST(SentencePieceTokenizer, TrainsToTheExactVocabularyAndRoundTripsText) {
  SentencePieceTokenizer const tokenizer{trained_model(), "trained"};
  EXPECT_EQ(tokenizer.vocab(), 400);
  std::string const text = "  katermin  lo\n\n\tpretion\r\nunseen: \xe6\x97\xa5\xe6\x9c\xac 123\n";
  auto ids = tokenizer.encode(text);
  for (auto const id : ids) EXPECT_TRUE(id > 2 && id < 400) << id;  // no unknown, begin or end piece
  ids.push_back(tokenizer.eos());
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(SentencePieceTokenizer, TrainingIsDeterministic) {
  EXPECT_TRUE(train_sentencepiece(sample_text(500), 400) == trained_model());
}

TEST(SentencePieceTokenizer, CutTextGivesTheTokensOfTheWhole) {
  SentencePieceTokenizer const tokenizer{trained_model(), "trained"};
  sentencepiece::SentencePieceProcessor reference;
  ASSERT_TRUE(reference.LoadFromSerializedProto(trained_model()).ok());
  std::string const text =
      joined(sample_text(200)) + " \xe2\x96\x81 a \xe2\x96\x81" + joined(sample_text(200)) + "  end ";
  std::vector<int> whole;
  ASSERT_TRUE(reference.Encode(text, &whole).ok());
  EXPECT_EQ(tokenizer.encode(text), std::vector<std::int32_t>(whole.begin(), whole.end()));

  // and cut from outside, at every place the tokenizer offers
  std::vector<std::int32_t> parts;
  std::size_t begin = 0;
  int cuts = 0;
  while (begin < text.size()) {
    auto const cut = tokenizer.next_cut(std::string_view{text}.substr(begin), 50);
    std::size_t const size = std::min(cut, text.size() - begin);
    tokenizer.encode_part(std::string_view{text}.substr(begin, size), begin == 0, parts);
    begin += size;
    ++cuts;
  }
  EXPECT_GT(cuts, 100);
  EXPECT_EQ(parts, std::vector<std::int32_t>(whole.begin(), whole.end()));
}

/// A model with other settings than ours, as users bring them.
std::string foreign_model(std::unordered_map<std::string, std::string> settings) {
  Scratch const folder;
  settings.emplace("vocab_size", "200");
  settings.emplace("minloglevel", "2");
  settings.emplace("input", folder.write("text", joined(sample_text(300))));
  std::string model;
  auto const status = sentencepiece::SentencePieceTrainer::Train(settings, nullptr, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

void expect_cuts_change_nothing(std::string const& model) {
  SentencePieceTokenizer const tokenizer{model, "foreign"};
  sentencepiece::SentencePieceProcessor reference;
  ASSERT_TRUE(reference.LoadFromSerializedProto(model).ok());
  std::string const text = joined(sample_text(100));
  std::vector<int> whole;
  ASSERT_TRUE(reference.Encode(text, &whole).ok());
  EXPECT_EQ(tokenizer.encode(text), std::vector<std::int32_t>(whole.begin(), whole.end()));
}

TEST(SentencePieceTokenizer, CutsAreSafeForModelsOfOtherKinds) {
  expect_cuts_change_nothing(foreign_model({{"model_type", "bpe"}}));
  expect_cuts_change_nothing(foreign_model({{"model_type", "unigram"}}));
  expect_cuts_change_nothing(foreign_model({{"model_type", "bpe"}, {"add_dummy_prefix", "false"}}));
  expect_cuts_change_nothing(foreign_model({{"model_type", "bpe"}, {"split_by_whitespace", "false"}}));
  expect_cuts_change_nothing(foreign_model({{"model_type", "bpe"}, {"treat_whitespace_as_suffix", "true"}}));
}

TEST(SentencePieceTokenizer, RefusesAModelWithoutEos) {
  std::string const model = foreign_model({{"model_type", "bpe"}, {"eos_id", "-1"}});
  EXPECT_THAT(message_of<DataError>([&] { SentencePieceTokenizer(model, "m.model"); }),
              HasSubstr("m.model: the model has no end-of-sentence piece"));
}

TEST(SentencePieceTokenizer, RefusesWhatIsNoModel) {
  for (std::string const& content : {std::string{}, std::string{"hello"}, trained_model().substr(0, 100)}) {
    EXPECT_THAT(message_of<DataError>([&] { SentencePieceTokenizer(content, "m.model"); }), HasSubstr("m.model"));
  }
  EXPECT_THAT(message_of<UserError>([] { make_tokenizer("none.model"); }), HasSubstr("none.model"));
}

TEST(SentencePieceTokenizer, NamesVocabulariesThatCannotBeTrained) {
  EXPECT_THAT(message_of<UserError>([] { train_sentencepiece(sample_text(10), 20000); }),
              testing::AllOf(HasSubstr("20000"), HasSubstr("<= "), HasSubstr("--train-vocab")));
  EXPECT_THAT(message_of<UserError>([] { train_sentencepiece(sample_text(10), 100); }),
              testing::AllOf(HasSubstr("100"), testing::Not(HasSubstr("character_coverage"))));
}

TEST(Utf8, AcceptsWellFormedText) {
  for (std::string const& text : {std::string{}, std::string{"plain ascii text, more than eight bytes"},
                                  std::string{"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf"},
                                  std::string{"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"}, std::string{"a\0b", 3}}) {
    EXPECT_EQ(first_invalid_utf8(text), std::string_view::npos) << text;
  }
}

TEST(Utf8, FindsTheFirstBadByte) {
  std::string const good = "12345678 \xc3\xa9 ";  // 12 bytes
  for (std::string const bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(", "\xe2\x82("}) {
    EXPECT_EQ(first_invalid_utf8(good + bad), 12U) << testing::PrintToString(bad);
    EXPECT_EQ(first_invalid_utf8(good + bad + " and more text behind"), 12U) << testing::PrintToString(bad);
  }
}

TEST(Utf8, BoundaryLiesBeforeACharacter) {
  std::string const text =
      "a\xe2\x82\xac"
      "b";
  EXPECT_EQ(utf8_boundary(text, 1), 1U);
  EXPECT_EQ(utf8_boundary(text, 2), 1U);
  EXPECT_EQ(utf8_boundary(text, 3), 1U);
  EXPECT_EQ(utf8_boundary(text, 4), 4U);
  EXPECT_EQ(utf8_boundary(text, 9), 5U);
  EXPECT_EQ(utf8_boundary(std::string(10, '\x80'), 7), 7U);
}

}  // namespace
}  // namespace jreg::data
