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

/// Gradients for AdamW that are functions of name and element alone, and the same bits on every mesh; with no gradient
/// on rows that only pad, as in a run.
void set_gradients(TinyRun& run, std::int64_t step) {
  for (params::Parameter const& p : run.session.store().registry().all()) {
    RandomStream const stream{static_cast<std::uint64_t>(step), p.declared.name};
    std::vector<float> values(static_cast<std::size_t>(p.size()), 0.0F);
    for (std::int64_t i = 0; i < p.size(); ++i) {
      std::int64_t const row = p.row_begin + i / p.local_columns();
      std::int64_t const column = p.column_begin + i % p.local_columns();
      if (row >= p.declared.rows) continue;
      auto const element = static_cast<std::uint64_t>(row * p.declared.columns + column);
      values[static_cast<std::size_t>(i)] = static_cast<float>(stream.normal(element));
    }
    run.backend->copy_from_host(run.session.store().flat_gradients({p.offset, p.end()}).data, values.data(),
                                values.size() * sizeof(float));
  }
}

/// Parameter `index` as this rank holds it.
std::vector<float> weights_of(TinyRun& run, std::size_t index) {
  params::Parameter const& p = run.session.store().registry()[index];
  std::vector<float> values(static_cast<std::size_t>(p.size()));
  params::read_weights(*run.backend, run.session.store(), {p.offset, p.end()}, values.data());
  return values;
}

TEST_P(EveryMesh, RoundsEachWeightAsOneRankDoes) {
  Case const& c = GetParam();
  config::Config config = tiny_config();
  config.model.tie_embeddings = c.tied;
  config.run.precision = "bf16";
  config.optim.master_weights = false;
  TinyRun one{config, MPI_COMM_SELF};
  config.mesh.tensor = c.tensor;
  config.mesh.sequence_parallel = c.sequence_parallel;
  config.mesh.zero1 = c.zero1;
  TinyRun many{config, MPI_COMM_WORLD};
  for (std::int64_t step = 0; step < 3; ++step) {
    for (TinyRun* const run : {&one, &many}) {
      set_gradients(*run, step);
      run->session.adamw().step(2e-3, 1);
      run->session.adamw().gather().finish();
    }
  }
  for (std::size_t i = 0; i < many.session.store().registry().all().size(); ++i) {
    params::Parameter const& p = many.session.store().registry()[i];
    std::vector<float> const whole = weights_of(one, i);
    std::vector<float> const ours = weights_of(many, i);
    for (std::size_t at = 0; at < ours.size(); ++at) {
      auto const local = static_cast<std::int64_t>(at);
      std::int64_t const row = p.row_begin + local / p.local_columns();
      std::int64_t const column = p.column_begin + local % p.local_columns();
      float const expected =
          row < p.declared.rows ? whole.at(static_cast<std::size_t>(row * p.declared.columns + column)) : 0.0F;
      ASSERT_EQ(ours[at], expected) << p.declared.name << " " << row << " " << column;
    }
  }
}

TEST_P(EveryMesh, TrainsAlikeWithoutMasterWeights) {
  Case const& c = GetParam();
  config::Config config = tiny_config();
  config.jreg.penalty = c.penalty;
  config.run.precision = "bf16";
  config.optim.master_weights = false;
  auto const reference = TinyRun{config, MPI_COMM_SELF}.updates(10);
  config.mesh.tensor = c.tensor;
  config.mesh.sequence_parallel = c.sequence_parallel;
  config.mesh.zero1 = c.zero1;
  config.train.micro_batch = c.micro_batch;
  auto const first = TinyRun{config, MPI_COMM_WORLD}.updates(10);
  auto const second = TinyRun{config, MPI_COMM_WORLD}.updates(10);
  for (std::size_t step = 0; step < first.size(); ++step) {
    std::string const at = "step " + std::to_string(step) + " ";
    EXPECT_EQ(first[step].loss, second[step].loss) << at;
    EXPECT_EQ(first[step].grad_norm, second[step].grad_norm) << at;
    expect_near_relative(first[step].loss, reference[step].loss, 2e-2, 0, at + "loss");
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

TEST(Bf16, LearnsAlikeWithoutMasterWeights) {
  config::Config config = tiny_config();
  config.run.precision = "bf16";
  auto const with = TinyRun{config, MPI_COMM_WORLD}.updates(20);
  config.optim.master_weights = false;
  auto const without = TinyRun{config, MPI_COMM_WORLD}.updates(20);
  bool differs = false;
  for (std::size_t step = 0; step < with.size(); ++step) {
    EXPECT_NEAR(without[step].loss, with[step].loss, 0.02 * with[step].loss) << "step " << step;
    differs = differs || without[step].loss != with[step].loss;
  }
  EXPECT_TRUE(differs);
}

TEST(Bf16, WeightsAreReadAsWrittenWithMasterWeightsAndToNearestWithout) {
  config::Config config = tiny_config();
  config.run.precision = "bf16";
  for (bool const master : {true, false}) {
    config.optim.master_weights = master;
    TinyRun run{config, MPI_COMM_SELF};
    params::Parameter const& p = run.session.store().registry()[0];
    params::Range const range{p.offset, p.end()};
    std::vector<float> values(static_cast<std::size_t>(p.size()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1 + 1e-5F * static_cast<float>(i);
    run.session.adamw().write(optim::StateKind::weight, range, values.data());
    std::vector<float> read(values.size());
    run.session.adamw().read(optim::StateKind::weight, range, read.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(read[i], master ? values[i] : to_float(to_bfloat16(values[i])));
    }
    EXPECT_EQ(run.session.adamw().master_bytes() > 0, master);
  }
}

}  // namespace
}  // namespace jreg::test
