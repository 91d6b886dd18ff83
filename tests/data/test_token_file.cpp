#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "data/scratch.h"
#include "data/token_file.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

/// An index and its tokens by hand, byte by byte, so that each field can be spoilt. Valid as it stands: two documents
/// of two and one sequences, six tokens.
struct Pair {
  std::string magic{"MMIDIDX\0\0", 9};
  std::uint64_t version = 1;
  std::uint8_t type = 8;
  std::uint64_t sequences = 3;
  std::uint64_t entries = 3;
  std::vector<std::int32_t> lengths{3, 1, 2};
  std::vector<std::int64_t> pointers{0, 6, 8};
  std::vector<std::int64_t> documents{0, 2, 3};
  std::string modes;
  std::string tokens = bytes_of<std::uint16_t>({10, 11, 12, 13, 14, 65000});

  template <class Number> static std::string bytes_of(std::vector<Number> const& values) {
    return {reinterpret_cast<char const*>(values.data()), values.size() * sizeof(Number)};
  }
  std::string index() const {
    return magic + bytes_of<std::uint64_t>({version}) + bytes_of<std::uint8_t>({type}) +
           bytes_of<std::uint64_t>({sequences, entries}) + bytes_of(lengths) + bytes_of(pointers) +
           bytes_of(documents) + modes;
  }
  std::string write(Scratch const& folder) const {
    folder.write("p.idx", index());
    folder.write("p.bin", tokens);
    return folder / "p";
  }
};

std::vector<std::int32_t> read_all(TokenFile const& file, std::int64_t vocab = std::int64_t{1} << 31) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(file.tokens()));
  file.read(0, out, vocab);
  return out;
}

TEST(TokenFile, ReadsTokensAndDocuments) {
  Scratch const folder;
  TokenFile const file{Pair{}.write(folder)};
  EXPECT_EQ(file.tokens(), 6);
  EXPECT_EQ(file.documents(), 2);
  EXPECT_EQ(file.document_begin(0), 0);
  EXPECT_EQ(file.document_begin(1), 4);
  EXPECT_EQ(file.document_begin(2), 6);
  EXPECT_EQ(read_all(file), (std::vector<std::int32_t>{10, 11, 12, 13, 14, 65000}));
  std::vector<std::int32_t> middle(2);
  file.read(3, middle, 100000);
  EXPECT_EQ(middle, (std::vector<std::int32_t>{13, 14}));
  EXPECT_THROW(file.read(5, middle, 100000), InternalError);
  EXPECT_THROW(file.document_begin(3), InternalError);
}

TEST(TokenFile, AcceptsTheNameOfEitherFile) {
  Scratch const folder;
  std::string const prefix = Pair{}.write(folder);
  EXPECT_EQ(TokenFile{prefix + ".bin"}.tokens(), 6);
  EXPECT_EQ(TokenFile{prefix + ".idx"}.prefix(), prefix);
}

TEST(TokenFile, AcceptsModesBehindTheDocuments) {
  Scratch const folder;
  Pair pair;
  pair.modes = std::string(3, '\0');
  EXPECT_EQ(TokenFile{pair.write(folder)}.documents(), 2);
}

template <class Id> void expect_type(int type) {
  Scratch const folder;
  Pair pair;
  pair.type = static_cast<std::uint8_t>(type);
  std::vector<Id> ids{1, 2, 3, 4, 5, std::numeric_limits<Id>::max()};
  if (sizeof(Id) == 8) ids.back() = static_cast<Id>(2147483647);
  pair.tokens = Pair::bytes_of(ids);
  pair.pointers = {0, 3 * sizeof(Id), 4 * sizeof(Id)};
  EXPECT_EQ(read_all(TokenFile{pair.write(folder)}), (std::vector<std::int32_t>(ids.begin(), ids.end())));
}

TEST(TokenFile, ReadsEveryIntegerType) {
  expect_type<std::uint8_t>(1);
  expect_type<std::int8_t>(2);
  expect_type<std::int16_t>(3);
  expect_type<std::int32_t>(4);
  expect_type<std::int64_t>(5);
  expect_type<std::uint16_t>(8);
}

TEST(TokenFile, RefusesIdsOutsideTheVocabularyByFileAndOffset) {
  Scratch const folder;
  TokenFile const file{Pair{}.write(folder)};
  EXPECT_EQ(read_all(file, 65001).back(), 65000);
  std::string const text = message_of<DataError>([&] { read_all(file, 65000); });
  EXPECT_THAT(text, HasSubstr("p.bin: token 5 (byte 10) has id 65000"));
  EXPECT_THAT(text, HasSubstr("model.vocab"));
}

TEST(TokenFile, RefusesNegativeAndHugeIds) {
  for (std::int64_t const id : {std::int64_t{-1}, std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::min()}) {
    Scratch const folder;
    Pair pair;
    pair.type = 5;
    pair.tokens = Pair::bytes_of<std::int64_t>({0, 0, 0, 0, id, 0});
    pair.pointers = {0, 24, 32};
    TokenFile const file{pair.write(folder)};
    EXPECT_THAT(message_of<DataError>([&] { read_all(file); }), HasSubstr("token 4 (byte 32)"));
  }
}

TEST(TokenFile, NamesTheMissingFile) {
  Scratch const folder;
  EXPECT_THAT(message_of<UserError>([&] { TokenFile{folder / "none"}; }), HasSubstr("none.idx"));
  std::string const prefix = Pair{}.write(folder);
  std::filesystem::remove(prefix + ".bin");
  EXPECT_THAT(message_of<UserError>([&] { TokenFile{prefix}; }), HasSubstr("p.bin"));
}

/// What the refusal says of a pair spoilt by `spoil`.
template <class Spoil> std::string refusal(Spoil&& spoil) {
  Scratch const folder;
  Pair pair;
  spoil(pair);
  return message_of<DataError>([&] { TokenFile{pair.write(folder)}; });
}

TEST(TokenFile, RefusesShortHeaders) {
  Scratch const folder;
  std::string const whole = Pair{}.index();
  std::string const prefix = Pair{}.write(folder);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    folder.write("p.idx", whole.substr(0, size));
    std::string const text = message_of<DataError>([&] { TokenFile{prefix}; });
    EXPECT_THAT(text, HasSubstr(size < 34 ? "too few for a header" : "do not match")) << size;
  }
}

TEST(TokenFile, RefusesAnotherMagicVersionOrType) {
  EXPECT_THAT(refusal([](Pair& p) { p.magic[0] = 'X'; }), HasSubstr("MMIDIDX"));
  EXPECT_THAT(refusal([](Pair& p) { p.version = 2; }), HasSubstr("version 2"));
  for (int const type : {0, 6, 7, 9, 255}) {
    EXPECT_THAT(refusal([&](Pair& p) { p.type = static_cast<std::uint8_t>(type); }),
                HasSubstr("type " + std::to_string(type)));
  }
}

TEST(TokenFile, RefusesCountsThatDoNotGiveTheSize) {
  for (std::uint64_t const count : {0ULL, 2ULL, 4ULL, 1ULL << 61, 0x1555555555555558ULL, ~0ULL}) {
    EXPECT_THAT(refusal([&](Pair& p) { p.sequences = count; }), HasSubstr("do not match")) << count;
    if (count == 0) continue;
    EXPECT_THAT(refusal([&](Pair& p) { p.entries = count; }), HasSubstr("do not match")) << count;
  }
  EXPECT_THAT(refusal([](Pair& p) { p.entries = 0; }), HasSubstr("0 document entries"));
  EXPECT_THAT(refusal([](Pair& p) { p.modes = "x"; }), HasSubstr("do not match"));
}

TEST(TokenFile, RefusesNegativeLengths) {
  EXPECT_THAT(refusal([](Pair& p) { p.lengths[1] = -1; }), HasSubstr("sequence 1 has the negative length -1"));
}

TEST(TokenFile, RefusesPointersThatAreNotTheRunningSum) {
  EXPECT_THAT(refusal([](Pair& p) { p.pointers[0] = 2; }), HasSubstr("sequence 0 begins at byte 2 instead of 0"));
  EXPECT_THAT(refusal([](Pair& p) { p.pointers[2] = 10; }), HasSubstr("sequence 2 begins at byte 10 instead of 8"));
  EXPECT_THAT(refusal([](Pair& p) { p.pointers[1] = -6; }), HasSubstr("sequence 1"));
}

TEST(TokenFile, RefusesADataFileOfAnotherSize) {
  EXPECT_THAT(refusal([](Pair& p) { p.tokens.pop_back(); }), HasSubstr("truncated"));
  EXPECT_THAT(refusal([](Pair& p) { p.lengths[2] = 2147483647; }), HasSubstr("truncated"));
  EXPECT_THAT(refusal([](Pair& p) { p.tokens += "xx"; }), HasSubstr("do not belong together"));
  EXPECT_THAT(refusal([](Pair& p) { p.tokens += "x"; }), HasSubstr("do not belong together"));
}

TEST(TokenFile, RefusesDocumentsNotRisingFromZeroToTheEnd) {
  EXPECT_THAT(refusal([](Pair& p) { p.documents[0] = 1; }), HasSubstr("document 0 begins at sequence 1"));
  EXPECT_THAT(refusal([](Pair& p) { p.documents = {0, 3, 2}; }), HasSubstr("document 2 begins at sequence 2"));
  EXPECT_THAT(refusal([](Pair& p) { p.documents[1] = 4; }), HasSubstr("document 1 begins at sequence 4"));
  EXPECT_THAT(refusal([](Pair& p) { p.documents[1] = -1; }), HasSubstr("document 1"));
  EXPECT_THAT(refusal([](Pair& p) { p.documents[2] = 2; }), HasSubstr("the documents end at sequence 2 of 3"));
}

TEST(TokenFile, RefusesAnEmptyCorpus) {
  EXPECT_THAT(refusal([](Pair& p) {
                p.sequences = 0;
                p.entries = 1;
                p.lengths.clear();
                p.pointers.clear();
                p.documents = {0};
                p.tokens.clear();
              }),
              HasSubstr("holds no tokens"));
}

}  // namespace
}  // namespace jreg::data
