#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "store/run_lock.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class RunLocks : public testing::Test {
protected:
  ~RunLocks() override { unsetenv("SLURM_JOB_ID"); }

  void forge(std::string const& host, std::string const& job, std::int64_t heartbeat) const {
    std::ofstream{file_} << nlohmann::json{{"host", host}, {"pid", 4242}, {"job", job}, {"heartbeat", heartbeat}}
                         << "\n";
  }
  nlohmann::json content() const { return nlohmann::json::parse(read_text(file_, 4096)); }
  void expect_taken() const {
    RunLock const lock{folder_.path()};
    EXPECT_EQ(content()["pid"], ::getpid());
  }

  test::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "run.lock";
};

TEST_F(RunLocks, NameTheHolderWithItsHeartbeat) {
  setenv("SLURM_JOB_ID", "4711", 1);
  RunLock const lock{folder_.path()};
  EXPECT_EQ(content()["pid"], ::getpid());
  EXPECT_EQ(content()["job"], "4711");
  EXPECT_NEAR(content()["heartbeat"].get<double>(), static_cast<double>(now()), 2);
}

TEST_F(RunLocks, OfAnotherHostRefuseWhileItsHeartbeatIsYoung) {
  forge("elsewhere", "17", now() - 30);
  EXPECT_THAT([this] { RunLock{folder_.path()}; },
              ThrowsMessage<UserError>(AllOf(HasSubstr("process 4242 on host elsewhere, job 17"), HasSubstr("3"),
                                             HasSubstr("s old"), HasSubstr("run.dir"))));
  EXPECT_EQ(content()["pid"], 4242) << "a refused start leaves the lock as it was";
}

TEST_F(RunLocks, OfAnotherHostAreStaleAfterTwoMinutes) {
  forge("elsewhere", "17", now() - 110);
  EXPECT_THROW(RunLock{folder_.path()}, UserError);
  forge("elsewhere", "17", now() - 125);
  expect_taken();
}

TEST_F(RunLocks, OfTheSameJobAreTakenOverAtOnce) {
  setenv("SLURM_JOB_ID", "17", 1);
  forge("elsewhere", "18", now());
  EXPECT_THROW(RunLock{folder_.path()}, UserError);
  forge("elsewhere", "17", now());
  expect_taken();
}

TEST_F(RunLocks, OfNoJobAreNotTheSameJob) {
  forge("elsewhere", "", now());
  EXPECT_THROW(RunLock{folder_.path()}, UserError);
}

TEST_F(RunLocks, OfThisHostThatNobodyHoldsAreFree) {
  forge(LockHolder::self().host, "17", now());
  expect_taken();
}

TEST_F(RunLocks, WithoutAHeartbeatAreStale) {
  std::ofstream{file_} << R"({"host": "elsewhere", "pid": 4242, "job": ""})";
  expect_taken();
}

TEST_F(RunLocks, HeldOnAnotherHostOfASharedLockAreReplacedOnceStale) {
  // A file system whose locks reach over hosts may go on holding that of a host that is gone.
  forge("elsewhere", "17", now());
  Descriptor const foreign = open_descriptor(file_, O_RDWR);
  ASSERT_EQ(::flock(foreign.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_THROW(RunLock{folder_.path()}, UserError);
  forge("elsewhere", "17", now() - 300);
  auto const lock = std::make_unique<RunLock>(folder_.path());
  EXPECT_THROW(RunLock{folder_.path()}, UserError) << "the new file is locked like any other";
}

TEST_F(RunLocks, AreRenewed) {
  using std::chrono::milliseconds;
  RunLock const lock{folder_.path(), milliseconds{20}};
  nlohmann::json mine = content();
  mine["heartbeat"] = 0;
  std::ofstream{file_} << mine << "\n";
  for (int i = 0; i < 200 && content().value("heartbeat", std::int64_t{0}) == 0; ++i) {
    std::this_thread::sleep_for(milliseconds{10});
  }
  EXPECT_GE(content()["heartbeat"].get<std::int64_t>(), now() - 5);
  EXPECT_NO_THROW(lock.require_held());
}

TEST_F(RunLocks, ThatAnotherTookOverAreKnownToBeLost) {
  using std::chrono::milliseconds;
  {
    RunLock const lock{folder_.path(), milliseconds{20}};
    forge("elsewhere", "17", now());
    bool lost = false;
    for (int i = 0; i < 200 && !lost; ++i) {
      std::this_thread::sleep_for(milliseconds{10});
      try {
        lock.require_held();
      } catch (UserError const&) {
        lost = true;
      }
    }
    EXPECT_TRUE(lost);
  }
  EXPECT_EQ(content()["host"], "elsewhere") << "the new holder's text stays";
}

}  // namespace
}  // namespace jreg::store
