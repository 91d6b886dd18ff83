#include "train/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace jreg::train {
namespace {

void send(int signal) {
  kill(getpid(), signal);
  std::this_thread::sleep_for(std::chrono::milliseconds{50});  // equal ones that wait together count once
}

TEST(SignalsDeathTest, TheThirdEndsTheProcess) {
  EXPECT_EXIT(
      {
        SignalWatch const watch;
        for (int const signal : {SIGUSR1, SIGTERM, SIGTERM}) send(signal);
        std::this_thread::sleep_for(std::chrono::seconds{10});
      },
      testing::ExitedWithCode(75), "");
}

TEST(SignalsDeathTest, AreIgnoredOnceAnsweredUntilTheProcessEnds) {
  EXPECT_EXIT(
      {
        {
          SignalWatch const watch;
          send(SIGUSR1);
          if (!SignalWatch::raised()) std::_Exit(1);
          SignalWatch::ignore_more();
          for (int i = 0; i < 3; ++i) send(SIGTERM);
        }
        send(SIGTERM);
        std::_Exit(85);
      },
      testing::ExitedWithCode(85), "");
}

}  // namespace
}  // namespace jreg::train
