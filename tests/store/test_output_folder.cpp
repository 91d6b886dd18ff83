#include "store/output_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "config/refusal.h"
#include "store/files.h"
#include "store/huggingface_files.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

namespace fs = std::filesystem;
using config::refusal;
using testing::HasSubstr;

bool has_mark(fs::path const& folder) {
  return fs::exists(folder / "mark");
}

/// Makes the folder with a file whose content is `text`.
void make(fs::path const& path, std::string const& text, bool overwrite = false) {
  OutputFolder output{"--output", path, overwrite, has_mark};
  test::write_file(output.temporary() / "mark", text);
  output.commit(output.temporary());
}

std::vector<std::string> names_in(fs::path const& folder) {
  std::vector<std::string> names;
  for (auto const& entry : fs::directory_iterator{folder}) names.push_back(entry.path().filename().string());
  return names;
}

TEST(OutputFolder, AppearsWhenItIsComplete) {
  test::TemporaryFolder const folder;
  {
    OutputFolder const output{"--output", folder / "new/", false, has_mark};
    EXPECT_EQ(output.path(), folder / "new");
    EXPECT_EQ(output.temporary().parent_path(), folder.path());
  }
  EXPECT_TRUE(names_in(folder.path()).empty()) << "what is not committed goes away";
  make(folder / "new/", "1");
  EXPECT_EQ(read_text(folder / "new" / "mark", 10), "1");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"new"});
}

TEST(OutputFolder, ReplacesOnlyItsOwnKindAndOnlyWhenTold) {
  test::TemporaryFolder const folder;
  make(folder / "new", "1");
  EXPECT_THAT(refusal([&] { make(folder / "new", "2"); }), HasSubstr("is there already; choose another name or add"));
  make(folder / "new", "2", true);
  EXPECT_EQ(read_text(folder / "new" / "mark", 10), "2");
  fs::create_directory(folder / "foreign");
  test::write_file(folder / "foreign" / "x", "kept");
  EXPECT_THAT(refusal([&] { make(folder / "foreign", "3", true); }), HasSubstr("is no output of this command"));
  test::write_file(folder / "file", "kept");
  EXPECT_THAT(refusal([&] { make(folder / "file", "3", true); }), HasSubstr("is no output of this command"));
  fs::create_directory(folder / "empty");
  make(folder / "empty", "4");
  EXPECT_EQ(names_in(folder.path()).size(), 4U);
}

TEST(OutputFolder, DoesNotFollowALink) {
  test::TemporaryFolder const folder;
  make(folder / "new", "1");
  fs::create_directory_symlink(folder / "new", folder / "link");
  EXPECT_THAT(refusal([&] { make(folder / "link", "2", true); }), HasSubstr("is no output of this command"));
  EXPECT_EQ(read_text(folder / "new" / "mark", 10), "1");
}

TEST(OutputFolder, NeedsAName) {
  for (char const* const path : {"/", ".", "..", "a/.."}) {
    EXPECT_THAT(refusal([&] { make(path, "1"); }), HasSubstr("needs the name of a new folder")) << path;
  }
}

}  // namespace
}  // namespace jreg::store
