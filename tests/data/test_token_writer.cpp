#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "data/scratch.h"
#include "data/token_file.h"
#include "data/token_writer.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

void round_trip(std::int64_t vocab, std::uintmax_t token_size) {
  Scratch const folder;
  std::vector<std::int32_t> tokens(100000);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>((i * 7919) % vocab);
  tokens.back() = static_cast<std::int32_t>(vocab - 1);
  std::span<std::int32_t const> const all{tokens};
  TokenWriter writer{folder / "out", vocab};
  writer.add(all.first(10));
  writer.add(all.subspan(10, 90));
  writer.end_document();
  writer.add(all.subspan(100));
  writer.end_document();
  EXPECT_EQ(writer.documents(), 2);
  writer.finish();
  EXPECT_FALSE(std::filesystem::exists(folder / "out.idx")) << "visible before commit";
  writer.commit();
  EXPECT_EQ(folder.entries(), 2) << "temporary files are left";
  EXPECT_EQ(std::filesystem::file_size(folder / "out.bin"), tokens.size() * token_size);

  TokenFile const file{folder / "out"};
  EXPECT_EQ(file.documents(), 2);
  EXPECT_EQ(file.document_begin(1), 100);
  std::vector<std::int32_t> read(tokens.size());
  file.read(0, read, vocab);
  EXPECT_EQ(read, tokens);
}

TEST(TokenWriter, RoundTripsNarrowTokens) {
  round_trip(65499, 2);
}
TEST(TokenWriter, RoundTripsWideTokens) {
  round_trip(65500, 4);
}

TEST(TokenWriter, LeavesNothingBehindWithoutCommit) {
  Scratch const folder;
  {
    TokenWriter writer{folder / "out", 10};
    writer.add(std::vector<std::int32_t>{1, 2, 3});
    writer.end_document();
    writer.finish();
    EXPECT_EQ(folder.entries(), 2);
  }
  EXPECT_EQ(folder.entries(), 0);
}

TEST(TokenWriter, KeepsTheOldFilesUntilCommit) {
  Scratch const folder;
  for (std::int32_t const id : {1, 2}) {
    TokenWriter writer{folder / "out", 10};
    writer.add(std::vector<std::int32_t>{id});
    writer.end_document();
    writer.finish();
    if (id == 2) {
      EXPECT_EQ(read_text(folder / "out.bin"), std::string("\1\0", 2));
    }
    writer.commit();
  }
  EXPECT_EQ(read_text(folder / "out.bin"), std::string("\2\0", 2));
}

TEST(TokenWriter, RefusesIdsOutsideTheVocabulary) {
  Scratch const folder;
  TokenWriter writer{folder / "out", 10};
  EXPECT_THROW(writer.add(std::vector<std::int32_t>{10}), InternalError);
  EXPECT_THROW(writer.add(std::vector<std::int32_t>{-1}), InternalError);
}

TEST(TokenWriter, NamesTheFileThatCannotBeMade) {
  Scratch const folder;
  EXPECT_THAT(message_of<UserError>([&] { TokenWriter(folder / "missing/out", 10); }), HasSubstr("missing/out.bin"));
}

TEST(OutputFile, ReportsAFullDiskWithTheSystemsText) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  Scratch const folder;
  std::string const target = folder / "full";
  // The temporary name leads to a device that refuses every byte.
  std::filesystem::create_symlink("/dev/full", target + ".tmp-" + std::to_string(::getpid()));
  std::string const text = message_of<SystemError>([&] {
    OutputFile file{target};
    file.write(std::string(100, 'x'));
    file.sync();
  });
  EXPECT_THAT(text, HasSubstr(target));
  EXPECT_THAT(text, HasSubstr("No space left on device"));
  EXPECT_EQ(folder.entries(), 0) << "the temporary file is left";
}

}  // namespace
}  // namespace jreg::data
