#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/run_folder.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class RunFolders : public testing::Test {
protected:
  std::string text(char const* name) const { return read_text(path_ / name, 1 << 20); }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "deep/run";
};

TEST_F(RunFolders, MakesTheFolderAndItsFiles) {
  RunFolder run{path_};
  run.write_config("[run]\nseed = 1\n");
  run.append_log({{"step", 1}, {"loss", 2.5}});
  run.append_log({{"step", 2}, {"loss", std::numeric_limits<double>::quiet_NaN()}});
  EXPECT_TRUE(std::filesystem::is_directory(path_ / "checkpoints"));
  EXPECT_EQ(text("config.cfg"), "[run]\nseed = 1\n");
  EXPECT_EQ(text("log.jsonl"), "{\"loss\":2.5,\"step\":1}\n{\"loss\":null,\"step\":2}\n");
  run.write_config("other\n");
  EXPECT_EQ(text("config.cfg"), "other\n");
}

TEST_F(RunFolders, ASecondRunIsRefusedAndToldWhoHasIt) {
  setenv("SLURM_JOB_ID", "4711", 1);
  auto first = std::make_unique<RunFolder>(path_);
  unsetenv("SLURM_JOB_ID");
  EXPECT_THAT([this] { RunFolder{path_}; },
              ThrowsMessage<UserError>(AllOf(HasSubstr(fmt::format("process {}", ::getpid())), HasSubstr("host "),
                                             HasSubstr("job 4711"), HasSubstr("run.dir"))));
  first.reset();
  EXPECT_NO_THROW(RunFolder{path_});
}

TEST_F(RunFolders, TheLockOfAKilledProcessIsTakenOver) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t const child = fork();
  if (child == 0) {
    RunFolder const run{path_};
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_THAT([this] { RunFolder{path_}; }, ThrowsMessage<UserError>(HasSubstr(fmt::format("process {}", child))));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_NO_THROW(RunFolder{path_});
  close(ready[0]);
  close(ready[1]);
}

TEST_F(RunFolders, GarbageInTheLockFileDoesNotMatter) {
  std::filesystem::create_directories(path_);
  std::ofstream{path_ / "run.lock"} << "\xff{[";
  std::unique_ptr<RunFolder> run;
  EXPECT_NO_THROW(run = std::make_unique<RunFolder>(path_));
  std::ofstream{path_ / "run.lock"} << "[1,2]";
  EXPECT_THAT([this] { RunFolder{path_}; }, ThrowsMessage<UserError>(HasSubstr("another process")));
}

TEST_F(RunFolders, ATornLogLineIsEndedBeforeTheNext) {
  std::filesystem::create_directories(path_);
  std::ofstream{path_ / "log.jsonl"} << "{\"step\":1}\n{\"st";
  RunFolder run{path_};
  run.append_log({{"step", 2}});
  EXPECT_EQ(text("log.jsonl"), "{\"step\":1}\n{\"st\n{\"step\":2}\n");
}

TEST_F(RunFolders, AFileInTheWayIsNamed) {
  std::ofstream{folder_ / "deep"} << "x";
  EXPECT_THAT([this] { RunFolder{path_}; }, ThrowsMessage<Error>(HasSubstr(path_.string())));
}

}  // namespace
}  // namespace jreg::store
