#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "train/disk_space.h"

namespace jreg::train {
namespace {

SpaceNeed const run{.parameters = 1000, .layers = 4, .updates = 1000, .interval = 100, .retention = {2}};

SpaceNeed with_existing(SpaceNeed need, std::int64_t existing) {
  need.existing = existing;
  return need;
}

TEST(SpaceNeed, CountsOneCheckpointMoreThanIsKept) {
  EXPECT_EQ(further_checkpoints(run), 3);
}

TEST(SpaceNeed, CountsNoMoreThanTheRunStillWrites) {
  SpaceNeed need = run;
  need.updates = 150;
  EXPECT_EQ(further_checkpoints(need), 2);
  need.interval = 0;
  EXPECT_EQ(further_checkpoints(need), 1);
  need.updates = 0;
  EXPECT_EQ(needed_bytes(need), 0);
}

TEST(SpaceNeed, DoesNotCountWhatIsThere) {
  EXPECT_EQ(further_checkpoints(with_existing(run, 1)), 2);
  EXPECT_EQ(further_checkpoints(with_existing(run, 2)), 1);
  EXPECT_EQ(further_checkpoints(with_existing(run, 7)), 1) << "the new one is written before the old ones go";
}

TEST(SpaceNeed, CountsWhatStaysForEver) {
  SpaceNeed need = run;
  need.retention.keep_every = 300;
  EXPECT_EQ(further_checkpoints(need), 3 + 3) << "steps 300, 600 and 900 stay";
  need.step = 600;
  EXPECT_EQ(further_checkpoints(need), 3 + 3) << "900, 1200 and 1500";
  need.retention.keep_every = 100;
  EXPECT_EQ(further_checkpoints(need), 10) << "no more than are saved";
}

TEST(SpaceNeed, CountsLogSpacedStepsByTheirWeights) {
  SpaceNeed need = run;
  EXPECT_EQ(further_weights_only(need), 0);
  need.retention.log_spaced = true;
  EXPECT_EQ(further_weights_only(need), 11) << "0, 1, 2, 4 ... 512";
  EXPECT_EQ(needed_bytes(need), needed_bytes(run) + 11 * weights_only_bytes(run));
  need.interval = 128;
  EXPECT_EQ(further_weights_only(need), 8) << "128, 256 and 512 are whole";
  EXPECT_EQ(further_checkpoints(need), 3 + 3);
  need.step = 100;
  need.updates = 400;
  EXPECT_EQ(further_weights_only(need), 0) << "128 and 256 are whole, 512 is beyond the end";
}

TEST(SpaceNeed, HoldsWeightsMomentsAndTheHistory) {
  std::int64_t const history = 8 * (8 + 4 + 4 + 5) * 1000;
  EXPECT_GE(checkpoint_bytes(run), 12 * 1000 + history);
  EXPECT_EQ(needed_bytes(run), 3 * checkpoint_bytes(run) + history);
}

TEST(CheckSpace, RefusesWithTheEstimateAndExitCode74) {
  test::TemporaryFolder const folder;
  EXPECT_NO_THROW(check_space(folder.path(), run));
  SpaceNeed huge = run;
  huge.parameters = std::int64_t{1} << 50;
  try {
    check_space(folder.path(), huge);
    FAIL() << "a checkpoint of petabytes was accepted";
  } catch (Error const& error) {
    EXPECT_EQ(error.code(), ExitCode::io);
    EXPECT_NE(std::string{error.what()}.find(std::to_string(needed_bytes(huge))), std::string::npos) << error.what();
    EXPECT_NE(std::string{error.what()}.find(folder.path().string()), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace jreg::train
