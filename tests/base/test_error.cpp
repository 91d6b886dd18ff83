#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>

#include "base/log.h"

namespace jreg {
namespace {

using testing::HasSubstr;

template <class Action> std::pair<std::string, int> failure_of(Action&& action) {
  try {
    action();
  } catch (std::exception const& error) {
    return {error.what(), static_cast<int>(log::exit_code(error))};
  }
  return {};
}

TEST(Error, KindsLeadToTheirExitCodes) {
  EXPECT_EQ(failure_of([] { throw UserError("--x {}: no", 3); }), (std::pair{std::string{"--x 3: no"}, 2}));
  EXPECT_EQ(failure_of([] { throw DataError("f: bad"); }).second, 65);
  EXPECT_EQ(failure_of([] { throw NumericalError("NaN"); }).second, 70);
  EXPECT_EQ(failure_of([] { throw SystemError{"disk"}; }).second, 74);
  EXPECT_EQ(failure_of([] { throw SystemError("rank", ExitCode::retry); }).second, 75);
  EXPECT_EQ(failure_of([] { throw std::bad_alloc{}; }).second, 70);
}

TEST(Error, SystemErrorsTellTheirPlace) {
  EXPECT_THAT(failure_of([] { throw SystemError{"disk full"}; }).first,
              testing::MatchesRegex("disk full \\[test_error\\.cpp:[0-9]+\\]"));
}

TEST(Error, MissingPathsAreTheUsersOthersTheSystems) {
  auto const fail = [](int number) {
    return failure_of([number] {
      errno = number;
      throw_errno("cannot open", "a/b");
    });
  };
  EXPECT_EQ(fail(ENOENT), (std::pair{std::string{"cannot open a/b: No such file or directory"}, 2}));
  EXPECT_EQ(fail(ENOTDIR).second, 2);
  EXPECT_EQ(fail(ENOSPC).second, 74);
  EXPECT_THAT(fail(ENOSPC).first, HasSubstr("a/b: No space left on device"));
  EXPECT_EQ(fail(EACCES).second, 74);
}

TEST(Expect, ThrowsWithPlaceAndValuesOnlyWhenBroken) {
  EXPECT_NO_THROW(expect(true, "fine"));
  EXPECT_NO_THROW(expect_equal(2, 2, "fine"));
  EXPECT_THAT(failure_of([] { expect(false, "rows are whole"); }).first,
              testing::AllOf(HasSubstr("test_error.cpp:"), HasSubstr("rows are whole")));
  auto const [text, code] = failure_of([] { expect_equal(2, 3, "size"); });
  EXPECT_THAT(text, HasSubstr("size: 2 is not 3"));
  EXPECT_EQ(code, 70);
}

}  // namespace
}  // namespace jreg
