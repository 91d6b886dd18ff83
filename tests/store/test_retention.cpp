#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "store/checkpoint_fixture.h"
#include "store/describe.h"

// Under mpirun with 1 and 2 ranks.
namespace jreg::store {
namespace {

class Retained : public test::CheckpointTest {
protected:
  std::vector<std::int64_t> steps() {
    comm_.barrier();
    std::vector<std::int64_t> found;
    for (auto const& [step, folder] : list_checkpoints(run_)) found.insert(found.begin(), step);
    comm_.barrier();
    return found;
  }
};

using Steps = std::vector<std::int64_t>;

TEST(LogSpaced, StepsArePowersOfTwoUpTo512AndTheBeginning) {
  Steps found;
  for (std::int64_t step = 0; step <= 3000; ++step) {
    if (is_log_spaced(step)) found.push_back(step);
  }
  EXPECT_EQ(found, (Steps{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512}));
}

TEST_F(Retained, NewestAndEveryMthStay) {
  for (std::int64_t step = 10; step <= 80; step += 10) save_step(step, {2, 30});
  EXPECT_EQ(steps(), (Steps{30, 60, 70, 80}));
}

TEST_F(Retained, WithoutALimitAllStay) {
  for (std::int64_t step = 10; step <= 40; step += 10) save_step(step, {0, 30});
  EXPECT_EQ(steps(), (Steps{10, 20, 30, 40}));
}

TEST_F(Retained, LogSpacedStayForEverWholeOrNot) {
  Retention const rule{1, 0, true};
  for (std::int64_t const step : {1, 2}) save_step(step, rule, true);
  for (std::int64_t const step : {3, 4, 5, 6}) save_step(step, rule);
  EXPECT_EQ(steps(), (Steps{1, 2, 4, 6}));
  save_step(7);  // no longer asked for: weights only still stay
  save_step(8, 1);
  EXPECT_EQ(steps(), (Steps{1, 2, 8}));
}

TEST_F(Retained, WeightsOnlyNeitherCountNorAreResumedFrom) {
  save_step(6, 2);
  save_step(7, 2);
  save_step(8, {2, 0, true}, true);
  EXPECT_EQ(steps(), (Steps{6, 7, 8}));
  EXPECT_EQ(find_latest(run_), step_folder(7));
  EXPECT_EQ(resumable_checkpoints(run_), (std::vector<std::filesystem::path>{step_folder(7), step_folder(6)}));
  save_step(9, 2);
  EXPECT_EQ(steps(), (Steps{7, 8, 9}));
  EXPECT_EQ(resumable_checkpoints(run_), (std::vector<std::filesystem::path>{step_folder(9), step_folder(7)}));
  CheckpointReader reader{step_folder(8)};
  EXPECT_TRUE(reader.state().weights_only);
  EXPECT_EQ(reader.find(TensorKind::moment1, "model.norm.weight"), nullptr);
  EXPECT_NE(reader.find(TensorKind::weight, "model.norm.weight"), nullptr);
  EXPECT_THAT(describe(step_folder(8), FileKind::checkpoint_folder), testing::HasSubstr("weights only"));
  comm_.barrier();
}

TEST_F(Retained, WithWeightsOnlyAloneThereIsNothingToResume) {
  save_step(1, 2, true);
  save_step(2, 2, true);
  EXPECT_EQ(find_latest(run_), std::nullopt);
  EXPECT_TRUE(resumable_checkpoints(run_).empty());
  comm_.barrier();
}

}  // namespace
}  // namespace jreg::store
