#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "train/watchdog.h"

namespace jreg::train {
namespace {

using std::chrono::milliseconds;

void rest(int ms) {
  std::this_thread::sleep_for(milliseconds{ms});
}

TEST(WatchdogDeathTest, NamesRankHostStepAndPhaseAndEndsWith75) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto const hang = [] {
    Watchdog watchdog{0.2, 3};
    watchdog.mark(Phase::reduction, 7);
    rest(20000);
  };
  EXPECT_EXIT(hang(), testing::ExitedWithCode(75),
              "jreg.3.: error: no progress for .* rank 3 on host .*step 7, phase gradient reduction");
}

TEST(WatchdogDeathTest, BreaksOffWhatHangsBeforeTheEnd) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto const hang = [] {
    Watchdog watchdog{0.2, 0};
    Watchdog::OnHang const broken_off{watchdog, [] {
                                        char const text[] = "exchanges are broken off\n";
                                        [[maybe_unused]] auto const written = ::write(2, text, sizeof text - 1);
                                      }};
    watchdog.mark(Phase::reduction, 7);
    rest(20000);
  };
  EXPECT_EXIT(hang(), testing::ExitedWithCode(75), "no progress for(.|\n)*exchanges are broken off");
}

TEST(WatchdogDeathTest, EndsEvenWhereBreakingOffHangsToo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto const hang = [] {
    Watchdog watchdog{0.2, 0};
    Watchdog::OnHang const broken_off{watchdog, [] { rest(60000); }};
    watchdog.mark(Phase::reduction, 7);
    rest(20000);
  };
  auto const begin = std::chrono::steady_clock::now();
  EXPECT_EXIT(hang(), testing::ExitedWithCode(75), "no progress");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{15});
}

TEST(Watchdog, LeavesARankAloneThatMovesOn) {
  Watchdog watchdog{0.3, 0};
  for (int i = 0; i < 40; ++i) {
    watchdog.mark(Phase::computing, i);
    rest(25);
  }
}

TEST(Watchdog, WatchesNothingWithoutADeadline) {
  Watchdog const watchdog{0, 0};
  rest(50);
}

TEST(Watchdog, GivesStartUpAndCheckpointsTwiceAsLong) {
  EXPECT_EQ(Watchdog::limit(Phase::computing, 10), 10);
  EXPECT_EQ(Watchdog::limit(Phase::evaluation, 10), 10);
  EXPECT_EQ(Watchdog::limit(Phase::start_up, 10), 20);
  EXPECT_EQ(Watchdog::limit(Phase::checkpoint, 10), 20);
}

TEST(Watchdog, DoesNotCountTimeInWhichTheWholeProcessWasStopped) {
  pid_t const child = fork();
  if (child == 0) {
    Watchdog watchdog{0.5, 0};
    for (int i = 0; i < 40; ++i) {
      watchdog.mark(Phase::computing, i);
      rest(25);
    }
    _exit(0);
  }
  rest(200);
  kill(child, SIGSTOP);
  rest(1500);
  kill(child, SIGCONT);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace jreg::train
