// What ranks find out about one another: weights that drift apart, and ranks that are slow.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <thread>

#include "train/replicas.h"
#include "train/slow_ranks.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

using Hashes = std::vector<std::int64_t>;
using Ranks = std::vector<int>;

TEST(DriftedRanks, AreThoseOutsideTheMajorityOfTheirSlices) {
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 5, 5, 5}, 1), Ranks{});
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 5, 6, 5}, 1), Ranks{2});
  // data 3 x tensor 2: ranks 0, 2, 4 hold the same slices, and 1, 3, 5
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 8, 5, 8, 5, 8}, 2), Ranks{});
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 8, 5, 9, 5, 8}, 2), Ranks{3});
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 6}, 1), (Ranks{0, 1})) << "of two nobody knows which one is right";
  EXPECT_EQ(train::drifted_ranks(Hashes{5, 6}, 2), Ranks{}) << "tensor ranks hold different slices";
}

std::vector<std::string> hosts_of(TinyRun const& run) {
  return run.world.all_gather("host" + std::to_string(run.world.rank()));
}

/// Moves one weight of this rank by the smallest step.
void perturb(TinyRun& run) {
  run.session.adamw().gather().finish();
  params::Parameter const& last = run.session.store().registry().all().back();
  params::Range const one{last.offset + 1, last.offset + 2};
  float value = 0;
  backend::Tensor const weight = run.session.store().flat_weights(one);
  run.backend->copy_to_host(&value, weight.data, sizeof value);
  value = std::nextafter(value, std::numeric_limits<float>::infinity());
  run.backend->copy_from_host(weight.data, &value, sizeof value);
}

class Replicas : public testing::TestWithParam<bool> {};

TEST_P(Replicas, StayEqualOverUpdates) {
  config::Config config = tiny_config();
  config.mesh.zero1 = GetParam();
  TinyRun run{config, MPI_COMM_WORLD};
  std::int64_t const before = train::weights_hash(run.session);
  run.updates(3);
  EXPECT_NE(train::weights_hash(run.session), before);
  EXPECT_NO_THROW(train::check_replicas(run.session, hosts_of(run), 3));
}

TEST_P(Replicas, ThatDifferInOneBitStopAllRanksAndNameTheOne) {
  config::Config config = tiny_config();
  config.mesh.zero1 = GetParam();
  TinyRun run{config, MPI_COMM_WORLD};
  run.updates(1);
  int const ranks = run.world.size();
  int const odd = ranks - 1;
  if (run.world.rank() == odd) perturb(run);
  auto const hosts = hosts_of(run);
  if (ranks == 1) return train::check_replicas(run.session, hosts, 1);
  try {
    train::check_replicas(run.session, hosts, 1);
    FAIL() << "weights that differ were accepted";
  } catch (AgreedError const& error) {
    std::string const text = error.what();
    std::string const name = fmt::format("rank {} on host host{}", odd, odd);
    EXPECT_EQ(error.code(), ExitCode::internal);
    EXPECT_NE(text.find(name), std::string::npos) << text;
    EXPECT_EQ(text.find("rank 0 on host host0") != std::string::npos, ranks == 2) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Zero1, Replicas, testing::Bool(),
                         [](auto const& tested) { return std::string{tested.param ? "sharded" : "whole"}; });

TEST(Replicas, AreHashedAsTheStepReadsThemInBf16Too) {
  config::Config config = tiny_config();
  config.run.precision = "bf16";
  TinyRun run{config, MPI_COMM_WORLD};
  run.updates(2);
  EXPECT_NO_THROW(train::check_replicas(run.session, hosts_of(run), 2));
}

TEST(Pace, FindsTheRankThatComputesSlowlyHoweverLongTheOthersWaitForIt) {
  TinyRun run{tiny_config(), MPI_COMM_WORLD};
  int const ranks = run.world.size();
  int const lame = ranks - 1;
  train::Pace pace{run.mesh, hosts_of(run), 5};
  Ranks found;
  std::vector<double> one(64, 1.0);
  backend::Tensor const values{one.data(), DType::f64, 1, 64};
  for (int step = 1; step <= 20; ++step) {
    pace.begin();
    std::this_thread::sleep_for(std::chrono::milliseconds{run.world.rank() == lame ? 40 : 10});
    run.mesh.all().all_reduce(values, backend::Reduction::sum);  // where the fast ones wait
    pace.computed();
    for (int const rank : pace.updated(step)) found.push_back(rank);
  }
  EXPECT_EQ(found, ranks == 1 ? Ranks{} : Ranks{lame});
}

}  // namespace
}  // namespace jreg::test
