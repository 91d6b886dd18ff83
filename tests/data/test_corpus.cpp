#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "data/corpus.h"
#include "data/encode.h"
#include "data/scratch.h"
#include "data/tokenizer.h"

namespace jreg::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// The documents of a job, with bytes as tokens.
std::vector<std::string> documents_of(EncodeJob const& job) {
  ByteTokenizer const tokenizer;
  std::vector<std::string> documents;
  encode_corpus(job, tokenizer, [&](EncodedPart const& part) {
    if (part.begins_document) documents.emplace_back();
    documents.back() += tokenizer.decode(part.tokens);
    EXPECT_EQ(part.tokens.back() == tokenizer.eos(), part.ends_document);
  });
  return documents;
}

TEST(ListFiles, KeepsTheGivenOrderAndSortsFolders) {
  Scratch const folder;
  folder.write("z.txt", "z");
  folder.write("d/b.txt", "b");
  folder.write("d/a/c.txt", "c");
  folder.write("d/.hidden", "h");
  folder.write("d/.git/x", "x");
  EXPECT_THAT(list_files({folder / "z.txt", folder / "d"}),
              ElementsAre(folder / "z.txt", folder / "d/a/c.txt", folder / "d/b.txt"));
}

TEST(ListFiles, NamesWhatIsMissingOrEmpty) {
  Scratch const folder;
  EXPECT_THAT(message_of<UserError>([&] { list_files({folder / "none"}); }), HasSubstr("none: no such file"));
  EXPECT_THAT(message_of<UserError>([&] { list_files({folder.path().string()}); }), HasSubstr("no files"));
}

TEST(Corpus, EachFileIsADocument) {
  Scratch const folder;
  EncodeJob const job{.files = {folder.write("a", "one\ntwo"), folder.write("empty", ""), folder.write("b", "three\n")},
                      .layout = {}};
  EXPECT_THAT(documents_of(job), ElementsAre("one\ntwo", "three\n"));
}

TEST(Corpus, LeavesOutAByteOrderMark) {
  Scratch const folder;
  EncodeJob const job{.files = {folder.write("a", "\xef\xbb\xbfone"), folder.write("b", "\xef\xbb\xbf")}, .layout = {}};
  EXPECT_THAT(documents_of(job), ElementsAre("one"));
}

TEST(Corpus, DocumentsEndAtTheFirstLineEndAfterTheirSize) {
  Scratch const folder;
  EncodeJob job{.files = {folder.write("a", "ab\ncd\nefgh\nij\n\nk")}, .layout = {}};
  job.layout.document_bytes = 4;
  EXPECT_THAT(documents_of(job), ElementsAre("ab\ncd\n", "efgh\n", "ij\n\n", "k"));
  job.layout.document_bytes = 1;
  EXPECT_THAT(documents_of(job), ElementsAre("ab\n", "cd\n", "efgh\n", "ij\n", "\n", "k"));
  job.layout.document_bytes = 100;
  EXPECT_THAT(documents_of(job), ElementsAre("ab\ncd\nefgh\nij\n\nk"));
}

TEST(Corpus, LongDocumentsArriveInPartsWithoutLoss) {
  Scratch const folder;
  std::string text;
  for (int i = 0; text.size() < 5'000'000; ++i) text += "line " + std::to_string(i) + '\n';
  for (std::int64_t const document_bytes : {0, 1'000'000}) {
    EncodeJob job{.files = {folder.write("a", text), folder.write("b", "short")}, .layout = {}};
    job.layout.document_bytes = document_bytes;
    auto const documents = documents_of(job);
    std::string together;
    for (auto const& document : documents) together += document;
    EXPECT_TRUE(together == text + "short");
    EXPECT_EQ(documents.size(), document_bytes == 0 ? 2U : 6U);
  }
}

/// Offers no place to cut and wants UTF-8.
class Uncuttable : public ByteTokenizer {
public:
  bool needs_utf8() const override { return true; }
  std::size_t next_cut(std::string_view, std::size_t) const override { return std::string_view::npos; }
};

TEST(Corpus, TextWithoutPlacesToCutIsCutBetweenCharacters) {
  Scratch const folder;
  std::string text = "x";
  for (int i = 0; i < 700'000; ++i) text += "\xe2\x82\xac";
  EncodeJob const job{.files = {folder.write("a", text)}, .layout = {}};
  std::string together;
  int parts = 0;
  Uncuttable const tokenizer;
  encode_corpus(job, tokenizer, [&](EncodedPart const& part) {
    together += tokenizer.decode(part.tokens);
    ++parts;
  });
  EXPECT_TRUE(together == text);
  EXPECT_EQ(parts, 3);
}

TEST(Corpus, JsonLinesAreDocuments) {
  Scratch const folder;
  EncodeJob job{.files = {folder.write("a.jsonl",
                                       "\xef\xbb\xbf{\"text\": \"one\\ntwo\"}\r\n\n  \n{\"id\": 3, \"text\": \"\"}\n"
                                       "{\"text\": \"\\u00e9\"}")},
                .layout = {}};
  job.layout.jsonl_field = "text";
  EXPECT_THAT(documents_of(job), ElementsAre("one\ntwo", "\xc3\xa9"));
}

TEST(Corpus, BadJsonLinesAreNamedByFileAndLine) {
  Scratch const folder;
  for (auto const& [line, what] : {std::pair{"{\"text\": \"x\"", "not a line of JSON"},
                                   {"[1]", "a JSON array instead of an object"},
                                   {"{\"t\": 1}", "no field \"text\""},
                                   {"{\"text\": [\"x\"]}", "holds no text but a array"},
                                   {"{\"text\": \"\xff\"}", "not a line of JSON in UTF-8"}}) {
    EncodeJob job{.files = {folder.write("a.jsonl", std::string{"{\"text\": \"fine\"}\n\n"} + line + "\n")},
                  .layout = {}};
    job.layout.jsonl_field = "text";
    std::string const text = message_of<DataError>([&] { documents_of(job); });
    EXPECT_THAT(text, HasSubstr("a.jsonl:3: "));
    EXPECT_THAT(text, HasSubstr(what));
  }
}

TEST(Corpus, FirstBadPlaceIsNamedWhateverTheThreads) {
  Scratch const folder;
  std::string good(3'000'000, 'a');
  std::string bad = good;
  bad[2'500'000] = '\xff';
  bad[2'900'000] = '\xff';
  for (int const threads : {1, 4}) {
    EncodeJob const job{.files = {folder.write("good", good), folder.write("bad", bad), folder.write("worse", "\xff")},
                        .layout = {},
                        .threads = threads};
    std::string const text = message_of<DataError>([&] { encode_corpus(job, Uncuttable{}, [](auto const&) {}); });
    EXPECT_THAT(text, HasSubstr("bad: byte 2500000 is not UTF-8"));
  }
}

TEST(SampleLines, TakesAllOfASmallCorpusAndAShareOfALargeOne) {
  Scratch const folder;
  std::string text;
  for (int i = 0; i < 10000; ++i) text += "line number " + std::to_string(i) + "\n\n";
  EncodeJob const job{.files = {folder.write("a", text)}, .layout = {}};
  EXPECT_EQ(sample_lines(job, 1 << 20, 1).size(), 10000U);
  auto const some = sample_lines(job, 20000, 1);
  EXPECT_NEAR(static_cast<double>(some.size()), 10000 * 20000.0 / static_cast<double>(text.size()), 150);
  EXPECT_EQ(some, sample_lines(job, 20000, 1));
  EXPECT_NE(some, sample_lines(job, 20000, 2));
}

TEST(SampleLines, CutsLongLinesBetweenCharacters) {
  Scratch const folder;
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "\xe2\x82\xac";
  EncodeJob const job{.files = {folder.write("a", text)}, .layout = {}};
  auto const lines = sample_lines(job, 1 << 20, 1);
  EXPECT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines.front().size(), 4095U);
}

}  // namespace
}  // namespace jreg::data
