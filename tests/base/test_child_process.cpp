#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>

#include "base/child_process.h"
#include "base/error.h"

namespace jreg {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(InChildProcess, ReturnsTheTextOfTheWork) {
  std::string const text(100'000, 'x');
  EXPECT_EQ(in_child_process("file", [&] { return text; }), text);
  EXPECT_EQ(in_child_process("file", [] { return std::string{}; }), "");
}

TEST(InChildProcess, ChangesNothingHere) {
  int here = 1;
  in_child_process("file", [&] { return std::to_string(++here); });
  EXPECT_EQ(here, 1);
}

TEST(InChildProcess, PassesErrorsOnAsTheyAre) {
  EXPECT_THAT([] { in_child_process("file", []() -> std::string { throw DataError("row {} is bad", 3); }); },
              ThrowsMessage<DataError>("row 3 is bad"));
  try {
    in_child_process("file", []() -> std::string { throw UserError("no such option"); });
    FAIL() << "nothing was thrown";
  } catch (Error const& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_STREQ(error.what(), "no such option");
  }
}

TEST(InChildProcess, TellsOfACrash) {
  EXPECT_THAT(
      [] {
        in_child_process("some/file", []() -> std::string {
          std::signal(SIGSEGV, SIG_DFL);  // sanitizers answer it otherwise
          std::raise(SIGSEGV);
          return "";
        });
      },
      ThrowsMessage<DataError>(AllOf(HasSubstr("some/file"), HasSubstr("crashes"))));
}

TEST(InChildProcess, TellsOfALoopWithoutEnd) {
  auto const loop = []() -> std::string {
    for (std::atomic<int> turns{0};;) ++turns;
  };
  EXPECT_THAT([&] { in_child_process("some/file", loop, 1); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("some/file"), HasSubstr("no end"))));
}

}  // namespace
}  // namespace jreg
