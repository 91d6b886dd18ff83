// The same run on every mesh. The reference is the same run on one rank, which every rank computes for itself.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "mpi/session.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

struct Case {
  std::string name;
  int tensor = 1;
  bool sequence_parallel = false;
  bool zero1 = false;
  std::int64_t micro_batch = 0;
  std::string penalty = "displacement";
  std::string final_state = "block";
  bool tied = false;
};

class EveryMesh : public testing::TestWithParam<Case> {};

TEST_P(EveryMesh, GivesTheLossesOfOneRank) {
  Case const& c = GetParam();

  config::Config config = tiny_config();
  config.jreg.penalty = c.penalty;
  config.jreg.final_state = c.final_state;
  config.model.tie_embeddings = c.tied;
  TinyRun one{config, MPI_COMM_SELF};
  auto const reference = one.updates(20);

  config.mesh.tensor = c.tensor;
  config.mesh.sequence_parallel = c.sequence_parallel;
  config.mesh.zero1 = c.zero1;
  config.train.micro_batch = c.micro_batch;
  config::validate(TinyRun::resolved(config), mpi::launched_ranks());
  TinyRun many{config, MPI_COMM_WORLD};
  auto const ours = many.updates(20);

  for (std::size_t step = 0; step < ours.size(); ++step) {
    std::string const at = "step " + std::to_string(step) + " ";
    expect_near_relative(ours[step].loss, reference[step].loss, 2e-5, 0, at + "loss");
    expect_near_relative(ours[step].grad_norm, reference[step].grad_norm, 1e-4, 0, at + "gradient norm");
    expect_near_relative(ours[step].jreg, reference[step].jreg, 2e-5, 1e-5, at + "R");
    for (std::size_t l = 0; l < reference[step].jump.displacement.size(); ++l) {
      expect_near_relative(ours[step].jump.displacement[l], reference[step].jump.displacement[l], 2e-5, 1e-5,
                           at + "Psi");
      if (l > 0)
        expect_near_relative(ours[step].jump.jump_rate[l], reference[step].jump.jump_rate[l], 0, 2e-3, at + "zeta");
    }
  }
  EXPECT_LT(reference.back().loss, reference.front().loss + 0.5) << "the run does not blow up";
}

TEST_P(EveryMesh, IsBitEqualWhenRunTwice) {
  Case const& c = GetParam();
  config::Config config = tiny_config();
  config.jreg.penalty = c.penalty;
  config.mesh.tensor = c.tensor;
  config.mesh.sequence_parallel = c.sequence_parallel;
  config.mesh.zero1 = c.zero1;
  config.train.micro_batch = c.micro_batch;
  auto const first = TinyRun{config, MPI_COMM_WORLD}.updates(5);
  auto const second = TinyRun{config, MPI_COMM_WORLD}.updates(5);
  for (std::size_t step = 0; step < first.size(); ++step) {
    EXPECT_EQ(first[step].loss, second[step].loss);
    EXPECT_EQ(first[step].grad_norm, second[step].grad_norm);
    EXPECT_EQ(first[step].jump.displacement, second[step].jump.displacement);
  }
}

/// The meshes that the ranks of this launch can form.
std::vector<Case> cases() {
  std::vector<Case> all{{"data", 1},
                        {"data_zero1", 1, false, true},
                        {"data_accumulate_jump", 1, false, false, 1, "jump"},
                        {"data_zero1_accumulate", 1, false, true, 2},
                        {"tensor2", 2},
                        {"tensor2_sequence", 2, true},
                        {"tensor2_sequence_zero1_accumulate_jump", 2, true, true, 1, "jump"},
                        {"tensor2_normed", 2, false, false, 0, "displacement", "normed"},
                        {"tensor2_sequence_normed_tied", 2, true, false, 2, "jump", "normed", true},
                        {"tensor2_zero1_tied", 2, false, true, 2, "displacement", "block", true},
                        {"tensor4", 4},
                        {"tensor4_sequence", 4, true},
                        {"tensor4_sequence_zero1_jump", 4, true, true, 2, "jump"}};
  std::erase_if(all, [](Case const& c) { return mpi::launched_ranks() % c.tensor != 0; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Meshes, EveryMesh, testing::ValuesIn(cases()),
                         [](auto const& tested) { return tested.param.name; });

TEST(Statistics, LeaveTheLossAsItIs) {
  config::Config config = tiny_config();
  config.jreg.lambda = 0;
  auto const with = TinyRun{config, MPI_COMM_WORLD, true}.updates(5);
  auto const without = TinyRun{config, MPI_COMM_WORLD, false}.updates(5);
  for (std::size_t step = 0; step < with.size(); ++step) {
    EXPECT_EQ(with[step].loss, without[step].loss);
    EXPECT_EQ(with[step].grad_norm, without[step].grad_norm);
  }
}

TEST(Update, LeavesTheWeightsAloneWhenTheLossIsNotFinite) {
  config::Config config = tiny_config();
  TinyRun run{config, MPI_COMM_WORLD};
  run.updater.update(0, false);
  // One rank's weights go wrong; every rank must come to the same decision.
  int const ranks = run.world.size();
  params::Parameter const& gain = run.session.store().registry()[run.session.store().registry().units()[1].first];
  if (run.world.rank() == ranks - 1) {
    std::vector<float> const bad(static_cast<std::size_t>(gain.size()), NAN);
    run.session.adamw().write(optim::StateKind::weight, {gain.offset, gain.end()}, bad.data());
  }
  train::UpdateResult const result = run.updater.update(1, false);
  EXPECT_FALSE(result.applied);
  EXPECT_EQ(result.bad_data_rank, ranks - 1);
  EXPECT_EQ(run.session.adamw().updates(), 1);
}

TEST(Update, TellsEveryRankOfAFlag) {
  TinyRun run{tiny_config(), MPI_COMM_WORLD};
  EXPECT_FALSE(run.updater.update(0, false).flagged);
  EXPECT_TRUE(run.updater.update(1, run.world.rank() == 0).flagged);
}

TEST(Bf16, LearnsLikeFp32) {
  config::Config config = tiny_config();
  auto const exact = TinyRun{config, MPI_COMM_WORLD}.updates(20);
  config.run.precision = "bf16";
  auto const low = TinyRun{config, MPI_COMM_WORLD}.updates(20);
  for (std::size_t step = 0; step < exact.size(); ++step) {
    EXPECT_NEAR(low[step].loss, exact[step].loss, 0.02 * exact[step].loss) << "step " << step;
    EXPECT_NEAR(low[step].grad_norm, exact[step].grad_norm, 0.1 * exact[step].grad_norm) << "step " << step;
  }
}

}  // namespace
}  // namespace jreg::test
