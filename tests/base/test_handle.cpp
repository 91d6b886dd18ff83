#include "base/handle.h"

#include <gtest/gtest.h>

#include <vector>

namespace jreg {
namespace {

struct Recorder {
  using Raw = int;
  static Raw null() { return -1; }
  static void close(Raw raw) noexcept { closed.push_back(raw); }
  inline static std::vector<int> closed;
};
using Handle = UniqueHandle<Recorder>;

TEST(UniqueHandle, ClosesOnceWhateverTheMoves) {
  Recorder::closed.clear();
  {
    Handle first{7};
    Handle second{std::move(first)};
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is the contract
    Handle third;
    third = std::move(second);
    EXPECT_EQ(third.get(), 7);
    EXPECT_TRUE(Recorder::closed.empty());
  }
  EXPECT_EQ(Recorder::closed, std::vector<int>{7});
}

TEST(UniqueHandle, AssignmentClosesWhatItReplaces) {
  Recorder::closed.clear();
  Handle handle{1};
  handle = Handle{2};
  EXPECT_EQ(Recorder::closed, std::vector<int>{1});
  EXPECT_EQ(handle.release(), 2);
  EXPECT_FALSE(handle);
  EXPECT_EQ(Recorder::closed, std::vector<int>{1});
}

}  // namespace
}  // namespace jreg
