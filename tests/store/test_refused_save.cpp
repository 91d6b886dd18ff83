#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "base/error.h"
#include "store/checkpoint_fixture.h"

// HDF5 keeps the memory of what it could not write when it closes a file: no look for leaks in this program.
extern "C" int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() {
  return 1;
}

// Under mpirun with 1 and 2 ranks.
namespace jreg::store {
namespace {

using testing::HasSubstr;

using RefusedSave = test::CheckpointTest;

TEST_F(RefusedSave, OnOneRankFailsAllAlikeAndLeavesTheOldCheckpoint) {
  save_step(10);
  // Files of this rank may not grow beyond a few bytes: writing fails as it does on a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit const small{512, old.rlim_max};
  bool const failing = comm_.rank() == comm_.size() - 1;
  if (failing) setrlimit(RLIMIT_FSIZE, &small);
  std::string text;
  ExitCode code = ExitCode::done;
  try {
    save_step(20);
  } catch (Error const& error) {
    text = error.what();
    code = error.code();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_EQ(code, ExitCode::io);
  EXPECT_THAT(text,
              testing::AllOf(HasSubstr("step_00000020"), HasSubstr("File too large"), HasSubstr("bytes are needed")));
  if (comm_.size() > 1) {
    EXPECT_THAT(text, HasSubstr(fmt::format("rank {}:", comm_.size() - 1)));
  }
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000010"}));
    EXPECT_NO_THROW(test::load_all(step_folder(10)));
  }
  comm_.barrier();
  EXPECT_NO_THROW(save_step(30));
}

}  // namespace
}  // namespace jreg::store
