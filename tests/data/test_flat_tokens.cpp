#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "data/flat_tokens.h"
#include "data/open_tokens.h"
#include "data/scratch.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

constexpr std::int64_t any_vocab = std::int64_t{1} << 31;

template <class Number> std::string bytes_of(std::vector<Number> const& numbers) {
  std::string bytes(numbers.size() * sizeof(Number), '\0');
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

std::string header(std::int32_t magic, std::int32_t version, std::int32_t tokens) {
  std::vector<std::int32_t> numbers(256);
  numbers[0] = magic;
  numbers[1] = version;
  numbers[2] = tokens;
  return bytes_of(numbers);
}

std::string llmc16(std::vector<std::uint16_t> const& ids) {
  return header(20240520, 1, static_cast<std::int32_t>(ids.size())) + bytes_of(ids);
}
std::string llmc32(std::vector<std::uint32_t> const& ids) {
  return header(20240801, 7, static_cast<std::int32_t>(ids.size())) + bytes_of(ids);
}

std::vector<std::int32_t> all_of(TokenStream const& stream, std::int64_t vocab = any_vocab) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(stream.tokens()));
  stream.read(0, tokens, vocab);
  return tokens;
}

FlatTokens in_memory(std::string const& bytes, FlatFormat format) {
  return {"input", std::as_bytes(std::span{bytes}), format};
}

std::string refusal_of(std::string const& bytes, FlatFormat format = FlatFormat::llmc) {
  return message_of<DataError>([&] { in_memory(bytes, format); });
}

TEST(FlatTokens, ReadsBothVersionsOfLlmc) {
  std::string const narrow = llmc16({5, 0, 65535, 50256});
  EXPECT_EQ(all_of(in_memory(narrow, FlatFormat::llmc)), (std::vector<std::int32_t>{5, 0, 65535, 50256}));
  std::string const wide = llmc32({128000, 7, 2147483647});
  EXPECT_EQ(all_of(in_memory(wide, FlatFormat::llmc)), (std::vector<std::int32_t>{128000, 7, 2147483647}));
}

TEST(FlatTokens, ReadsBareIds) {
  EXPECT_EQ(all_of(in_memory(bytes_of<std::uint16_t>({3, 65535}), FlatFormat::raw16)),
            (std::vector<std::int32_t>{3, 65535}));
  EXPECT_EQ(all_of(in_memory(bytes_of<std::uint32_t>({3, 100000}), FlatFormat::raw32)),
            (std::vector<std::int32_t>{3, 100000}));
}

TEST(FlatTokens, RefusesAnotherMagic) {
  EXPECT_THAT(refusal_of(header(20240521, 1, 1) + "ab"), HasSubstr("input: begins with 20240521"));
}

TEST(FlatTokens, RefusesAnEvaluationSetAndOtherFilesOfLlmcByName) {
  EXPECT_THAT(refusal_of(header(20240522, 1, 1) + "ab"), HasSubstr("an evaluation set"));
  EXPECT_THAT(refusal_of(header(20240326, 3, 1) + "ab"), HasSubstr("a model's weights"));
}

TEST(FlatTokens, RefusesAVersionThatDoesNotBelongToTheMagic) {
  EXPECT_THAT(refusal_of(header(20240520, 7, 1) + "ab"), HasSubstr("version 7 at byte 4 instead of 1"));
  EXPECT_THAT(refusal_of(header(20240801, 1, 1) + "abcd"), HasSubstr("version 1 at byte 4 instead of 7"));
}

TEST(FlatTokens, RefusesIdsOfTheOtherWidth) {
  EXPECT_THAT(refusal_of(header(20240520, 1, 2) + "abcdefgh"), HasSubstr("of the other version's width"));
  EXPECT_THAT(refusal_of(header(20240801, 7, 2) + "abcd"), HasSubstr("of the other version's width"));
}

TEST(FlatTokens, RefusesCountsThatDoNotMatchTheSize) {
  EXPECT_THAT(refusal_of(header(20240520, 1, 0)), HasSubstr("0 tokens at byte 8"));
  EXPECT_THAT(refusal_of(header(20240520, 1, -3) + "abcdef"), HasSubstr("-3 tokens at byte 8"));
  EXPECT_THAT(refusal_of(header(20240520, 1, 2) + "abcdef"), HasSubstr("6 bytes behind the header instead of 4"));
  EXPECT_THAT(refusal_of(header(20240520, 1, 4) + "abcdef"), HasSubstr("6 bytes behind the header instead of 8"));
  EXPECT_THAT(refusal_of(header(20240801, 7, 2147483647)),
              HasSubstr("0 bytes behind the header instead of 8589934588"));
}

TEST(FlatTokens, RefusesAFileShorterThanItsHeader) {
  EXPECT_THAT(refusal_of(""), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(refusal_of(header(20240520, 1, 1).substr(0, 1023)), HasSubstr("1023 bytes are too few"));
}

TEST(FlatTokens, RefusesBareFilesWithoutWholeTokens) {
  EXPECT_THAT(refusal_of("", FlatFormat::raw16), HasSubstr("holds no tokens"));
  EXPECT_THAT(refusal_of("abc", FlatFormat::raw16), HasSubstr("3 bytes are no whole number of tokens of 2 bytes"));
  EXPECT_THAT(refusal_of("abcdef", FlatFormat::raw32), HasSubstr("6 bytes are no whole number of tokens of 4 bytes"));
}

TEST(FlatTokens, IdsOutsideTheVocabularyAreNamedWithFileAndPlace) {
  std::string const narrow = llmc16({1, 2, 300});
  std::string const text = message_of<DataError>([&] { all_of(in_memory(narrow, FlatFormat::llmc), 300); });
  EXPECT_THAT(text, HasSubstr("input: token 2 (byte 1028) has id 300, outside the vocabulary of 300"));
  std::string const wide = llmc32({4000000000});
  EXPECT_THAT(message_of<DataError>([&] { all_of(in_memory(wide, FlatFormat::llmc)); }),
              HasSubstr("token 0 (byte 1024) has id 4000000000"));
}

TEST(FlatTokens, ShardsContinueEachOther) {
  Scratch const folder;
  std::vector const paths{folder.write("a.bin", llmc16({0, 1, 2})), folder.write("b.bin", llmc16({3})),
                          folder.write("c.bin", llmc32({4, 70005}))};
  FlatTokens const file{"several", paths, FlatFormat::llmc};
  std::vector<std::int32_t> const expected{0, 1, 2, 3, 4, 70005};
  EXPECT_EQ(all_of(file), expected);
  for (std::size_t first = 0; first < 6; ++first) {
    for (std::size_t count = 0; count + first <= 6; ++count) {
      std::vector<std::int32_t> tokens(count);
      file.read(static_cast<std::int64_t>(first), tokens, any_vocab);
      EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), expected.begin() + static_cast<std::ptrdiff_t>(first)));
    }
  }
  EXPECT_THAT(message_of<DataError>([&] { all_of(file, 70000); }), HasSubstr("c.bin: token 1 (byte 1028)"));
  std::vector<std::int32_t> beyond(2);
  EXPECT_THROW(file.read(5, beyond, any_vocab), InternalError);
}

TEST(FlatTokens, OffsetsBeyondTwoGibAreRight) {
  Scratch const folder;
  constexpr std::int32_t count = 1'200'000'000;  // 2.4 GB, of which the file system keeps what is written
  std::string const path = folder.write("large.bin", header(20240520, 1, count));
  std::filesystem::resize_file(path, 1024 + 2 * std::uint64_t{count});
  std::fstream file{path, std::ios::binary | std::ios::in | std::ios::out};
  file.seekp(1024 + 2 * (std::int64_t{count} - 2));
  file << bytes_of<std::uint16_t>({11, 22});
  file.close();
  FlatTokens const tokens{path, {path, path}, FlatFormat::llmc};
  EXPECT_EQ(tokens.tokens(), 2'400'000'000);
  std::vector<std::int32_t> end(3);
  for (std::int64_t const at : {std::int64_t{count} - 2, 2 * std::int64_t{count} - 3}) {
    tokens.read(at, end, 50257);
    EXPECT_EQ(end, at == count - 2 ? (std::vector{11, 22, 0}) : (std::vector{0, 11, 22}));
  }
  EXPECT_THAT(message_of<DataError>([&] { tokens.read(2 * std::int64_t{count} - 1, std::span{end}.first(1), 20); }),
              HasSubstr("token 1199999999 (byte 2400001022) has id 22"));
}

class OpenTokens : public testing::Test {
protected:
  std::string write_megatron(std::string const& name) const {
    std::string index{"MMIDIDX\0\0", 9};
    index += bytes_of<std::uint64_t>({1}) + '\x08' + bytes_of<std::uint64_t>({2, 3}) + bytes_of<std::int32_t>({1, 2}) +
             bytes_of<std::int64_t>({0, 2}) + bytes_of<std::int64_t>({0, 1, 2});
    folder_.write(name + ".idx", index);
    folder_.write(name + ".bin", bytes_of<std::uint16_t>({7, 8, 9}));
    return folder_ / name;
  }

  Scratch folder_;
};

TEST_F(OpenTokens, AutoTellsMegatronByItsIndexAndLlmcByItsMagic) {
  std::string const prefix = write_megatron("corpus");
  for (std::string const& name : {prefix, prefix + ".bin", prefix + ".idx"}) {
    EXPECT_EQ(all_of(*open_tokens(name, "auto")), (std::vector<std::int32_t>{7, 8, 9}));
    EXPECT_TRUE(open_tokens(name, "auto")->knows_documents());
  }
  std::string const path = folder_.write("c.bin", llmc16({4, 5}));
  EXPECT_EQ(all_of(*open_tokens(path, "auto")), (std::vector<std::int32_t>{4, 5}));
  EXPECT_FALSE(open_tokens(path, "auto")->knows_documents());
  EXPECT_EQ(all_of(*open_tokens(path, "llmc")), (std::vector<std::int32_t>{4, 5}));
}

TEST_F(OpenTokens, AutoNeverGuessesABareFile) {
  std::string const path = folder_.write("nano.bin", bytes_of<std::uint16_t>({4, 5}));
  std::string const text = message_of<UserError>([&] { open_tokens(path, "auto"); });
  EXPECT_THAT(text, HasSubstr("data.format = raw16 or raw32"));
  EXPECT_THAT(text, HasSubstr(path));
  EXPECT_EQ(all_of(*open_tokens(path, "raw16")), (std::vector<std::int32_t>{4, 5}));
  EXPECT_EQ(all_of(*open_tokens(path, "raw32")), (std::vector<std::int32_t>{4 + (5 << 16)}));
}

TEST_F(OpenTokens, AutoLeavesLlmcsEvaluationSetToItsReader) {
  std::string const path = folder_.write("eval.bin", header(20240522, 1, 2) + "abcd");
  EXPECT_THAT(message_of<DataError>([&] { open_tokens(path, "auto"); }), HasSubstr("evaluation set"));
}

TEST_F(OpenTokens, PatternsAndListsKeepTheOrderOfTheirNames) {
  folder_.write("t_000002.bin", llmc16({2}));
  folder_.write("t_000001.bin", llmc16({1}));
  folder_.write("t_000010.bin", llmc16({10}));
  folder_.write("v.bin", llmc16({99}));
  std::string const pattern = folder_ / "t_*.bin";
  EXPECT_EQ(all_of(*open_tokens(pattern, "auto")), (std::vector<std::int32_t>{1, 2, 10}));
  EXPECT_EQ(all_of(*open_tokens((folder_ / "v.bin") + ", " + pattern, "llmc")),
            (std::vector<std::int32_t>{99, 1, 2, 10}));
  EXPECT_EQ(open_tokens(pattern, "auto")->name(), pattern);
}

TEST_F(OpenTokens, WhatIsNotThereIsNamed) {
  EXPECT_THAT(message_of<UserError>([&] { open_tokens(folder_ / "none", "auto"); }), HasSubstr("none.idx"));
  EXPECT_THAT(message_of<UserError>([&] { open_tokens(folder_ / "none.bin", "llmc"); }), HasSubstr("none.bin"));
  EXPECT_THAT(message_of<UserError>([&] { open_tokens(folder_ / "none*.bin", "auto"); }), HasSubstr("matches no file"));
  folder_.write("a.bin", llmc16({1}));
  EXPECT_THAT(message_of<UserError>([&] { open_tokens((folder_ / "a.bin") + ",," + (folder_ / "a.bin"), "auto"); }),
              HasSubstr("between two commas"));
}

TEST_F(OpenTokens, MegatronsDocumentsFollowOneAnother) {
  auto const stream = open_tokens(write_megatron("corpus"), "megatron");
  EXPECT_EQ(stream->next_document(0), 1);
  EXPECT_EQ(stream->next_document(1), 3);
  EXPECT_EQ(stream->next_document(2), 3);
}

}  // namespace
}  // namespace jreg::data
