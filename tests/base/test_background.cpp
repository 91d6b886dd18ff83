#include "base/background.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace jreg {
namespace {

TEST(Background, IsBusyUntilTheWorkHasEnded) {
  std::atomic<bool> go{false};
  Background work{[&](std::stop_token const&) { go.wait(false); }};
  EXPECT_TRUE(work.busy());
  go = true;
  go.notify_all();
  EXPECT_NO_THROW(work.finish());
  EXPECT_FALSE(work.busy());
}

TEST(Background, HandsItsErrorToWhoWaits) {
  Background work{[](std::stop_token const&) { throw std::runtime_error{"full"}; }};
  EXPECT_THROW(work.finish(), std::runtime_error);
}

TEST(Background, IsAskedToStopWhenNobodyWaitsForIt) {
  bool stopped = false;
  {
    Background const work{[&](std::stop_token const& stop) {
      while (!stop.stop_requested()) std::this_thread::yield();
      stopped = true;
    }};
  }
  EXPECT_TRUE(stopped);
}

}  // namespace
}  // namespace jreg
