#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <fstream>
#include <thread>

#include "base/error.h"
#include "store/checkpoint_fixture.h"
#include "store/pending_save.h"

// Under mpirun with 1 and 2 ranks.
namespace jreg::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Pending : public test::CheckpointTest {
protected:
  Trajectory const* seen(Trajectory const& trajectory) const { return comm_.rank() == 0 ? &trajectory : nullptr; }

  test::RankSlices mine_ = test::slices_of(comm_.rank(), comm_.size());
};

std::string content(fs::path const& file) {
  std::ifstream stream{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

std::vector<std::string> files_of(fs::path const& folder) {
  std::vector<std::string> names;
  for (auto const& entry : fs::directory_iterator{folder}) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

/// A page that cannot be read: writing it to a file is refused by the system.
void const* unreadable_page() {
  void* const page = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : page;
}

TEST_F(Pending, IsTheSaveInOnePieceToTheByteWhateverCameAfterItsStep) {
  SaveReport const whole = save_step(12);
  Trajectory trajectory = test::make_trajectory(12, 3);
  PendingSave pending{comm_, run_ / "other", test::make_state(12), mine_.slices, 0};
  trajectory.append(test::train_row(13, 3));
  EXPECT_EQ(pending.advance(seen(trajectory)), std::nullopt);
  trajectory.append(test::validation_row(13));
  auto const report = pending.advance(seen(trajectory));
  ASSERT_TRUE(report.has_value());
  EXPECT_FALSE(pending.busy());
  EXPECT_EQ(report->bytes, whole.bytes);
  EXPECT_EQ(report->folder, checkpoint_folder(run_ / "other", 12));
  comm_.barrier();
  std::vector<std::string> const files = files_of(whole.folder);
  EXPECT_EQ(files.size(), static_cast<std::size_t>(comm_.size()) + 2);
  EXPECT_EQ(files_of(report->folder), files);
  for (std::string const& file : files) EXPECT_EQ(content(report->folder / file), content(whole.folder / file)) << file;
}

TEST_F(Pending, StopsBeingBusyByItselfAndIsNoCheckpointBeforeItIsPublished) {
  Trajectory const trajectory = test::make_trajectory(12, 3);
  PendingSave pending{comm_, run_, test::make_state(12), mine_.slices, 0};
  while (pending.busy()) std::this_thread::yield();
  EXPECT_TRUE(list_checkpoints(run_).empty());
  EXPECT_EQ(pending.advance(seen(trajectory)), std::nullopt);
  while (pending.busy()) std::this_thread::yield();
  comm_.barrier();
  EXPECT_EQ(find_latest(run_), step_folder(12));
  EXPECT_NO_THROW(pending.finish(seen(trajectory)));
}

TEST_F(Pending, AnErrorInTheBackgroundOfOneRankFailsAllAlikeAndLeavesTheOldCheckpoint) {
  save_step(10);
  Trajectory const trajectory = test::make_trajectory(20, 3);
  if (comm_.rank() == comm_.size() - 1) {
    ASSERT_FALSE(mine_.slices.empty());
    mine_.slices.back().data = unreadable_page();
    ASSERT_NE(mine_.slices.back().data, nullptr);
  }
  std::string text;
  ExitCode code = ExitCode::done;
  PendingSave pending{comm_, run_, test::make_state(20), mine_.slices, 0};
  while (pending.busy()) std::this_thread::yield();
  try {
    pending.advance(seen(trajectory));
  } catch (Error const& error) {
    code = error.code();
    text = error.what();
  }
  EXPECT_EQ(code, ExitCode::io);
  EXPECT_THAT(text,
              testing::AllOf(HasSubstr("step_00000020"), HasSubstr("Bad address"), HasSubstr("bytes are needed")));
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

TEST_F(Pending, GivenUpItLeavesTheOldCheckpointAlone) {
  save_step(10);
  { PendingSave const given_up{comm_, run_, test::make_state(20), mine_.slices, 0}; }
  comm_.barrier();
  if (comm_.rank() == 0) {
    EXPECT_EQ(list_checkpoints(run_).size(), 1U);
    EXPECT_EQ(find_latest(run_), step_folder(10));
  }
  comm_.barrier();
  save_step(30);
  if (comm_.rank() == 0) {
    EXPECT_EQ(names_in_checkpoints(), (std::vector<std::string>{"latest", "step_00000010", "step_00000030"}));
  }
}

}  // namespace
}  // namespace jreg::store
