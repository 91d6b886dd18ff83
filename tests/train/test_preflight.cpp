// What a preflight makes of the facts that the ranks tell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "train/preflight_checks.h"
#include "train/preflight_links.h"

namespace jreg::train::preflight {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

/// Ranks 0, 1 on host a and 2, 3 on host b, each with a core of its own.
std::vector<Facts> good_facts() {
  std::vector<Facts> facts;
  for (int rank = 0; rank < 4; ++rank) {
    Facts own;
    own.host = rank < 2 ? "a" : "b";
    own.program = "cafe";
    own.version = "1.0 (abc)";
    own.mpi = "Open MPI 4";
    own.hdf5 = "1.10.8";
    own.options = "train.steps = 6\nrun.dir = runs/x\n";
    own.claims = {{"OMPI_COMM_WORLD_SIZE", 4}};
    own.cores = {rank % 2};
    own.threads = 1;
    own.memory_available = 1'000'000'000;
    own.data = {{"data/train", 1000, "f00d"}};
    facts.push_back(own);
  }
  return facts;
}

void expect_one(Check const& check, Severity severity, std::vector<std::string> const& parts) {
  ASSERT_EQ(check.findings.size(), 1U) << check.name;
  EXPECT_EQ(check.findings[0].severity, severity);
  for (std::string const& part : parts) EXPECT_THAT(check.findings[0].text, HasSubstr(part));
}

TEST(Verdict, IsTwoWhereSomethingIsToBeChangedAndElse75WhereAnotherStartMayHelp) {
  Check good{.name = "good"};
  Check warned{.name = "warned"};
  warned.warn("w");
  Check bad{.name = "bad"};
  bad.retry("r");
  Check wrong{.name = "wrong"};
  wrong.change("c");
  EXPECT_EQ(code_of(std::vector{good, warned}), ExitCode::done);
  EXPECT_EQ(code_of(std::vector{good, bad}), ExitCode::retry);
  EXPECT_EQ(code_of(std::vector{wrong, bad}), ExitCode::usage);
}

TEST(OddRanks, AreThoseWithoutTheUsualValue) {
  using Values = std::vector<std::string>;
  EXPECT_THAT(odd_ranks(Values{"x", "x", "x"}), IsEmpty());
  EXPECT_THAT(odd_ranks(Values{"y", "x", "x"}), ElementsAre(0));
  EXPECT_THAT(odd_ranks(Values{"x", "y"}), ElementsAre(1)) << "of two the first one counts";
  EXPECT_THAT(odd_ranks(Values{"x", "y", "z", "y"}), ElementsAre(0, 2));
}

TEST(RanksText, GroupsByHostAndEnds) {
  std::vector<std::string> hosts{"a", "a", "b", "b"};
  EXPECT_EQ(ranks_text(std::vector{1}, hosts), "rank 1 on host a");
  EXPECT_EQ(ranks_text(std::vector{0, 1, 3}, hosts), "ranks 0, 1 on host a, rank 3 on host b");
  hosts.clear();
  std::vector<int> ranks;
  for (int rank = 0; rank < 20; ++rank) {
    hosts.push_back("h" + std::to_string(rank));
    ranks.push_back(rank);
  }
  EXPECT_THAT(ranks_text(ranks, hosts), HasSubstr("and on 12 more hosts"));
}

std::vector<std::pair<std::string, std::int64_t>> claims_in(std::map<std::string, char const*> const& variables) {
  return claimed_ranks([&](char const* name) {
    auto const at = variables.find(name);
    return at == variables.end() ? nullptr : at->second;
  });
}

TEST(ClaimedRanks, AreTheLaunchersAndSlurms) {
  EXPECT_THAT(claims_in({}), IsEmpty());
  EXPECT_THAT(claims_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_NTASKS", "8"}}),
              ElementsAre(Pair("OMPI_COMM_WORLD_SIZE", 4), Pair("SLURM_NTASKS", 8)));
  EXPECT_THAT(claims_in({{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_NTASKS", "16"}}),
              ElementsAre(Pair("SLURM_STEP_NUM_TASKS", 8)))
      << "in a step its own number counts";
  EXPECT_THAT(claims_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}}),
              ElementsAre(Pair("OMPI_COMM_WORLD_SIZE", 4)))
      << "mpirun's daemons are a step of their own";
  EXPECT_THAT(claims_in({{"SLURM_NTASKS", "many"}}), IsEmpty());
}

TEST(AvailableMemory, IsWhatTheSystemOrTheControlGroupLeaves) {
  std::string const meminfo = "MemTotal: 2000 kB\nMemAvailable:    1000 kB\nCached: 5 kB\n";
  EXPECT_EQ(available_memory(meminfo, -1, 0), 1'024'000);
  EXPECT_EQ(available_memory(meminfo, 500'000, 100'000), 400'000);
  EXPECT_EQ(available_memory(meminfo, 100'000, 200'000), 0);
  EXPECT_EQ(available_memory("", -1, 0), 0);
}

TEST(Ranks, MustBeAsManyAsTheLauncherSays) {
  auto facts = good_facts();
  EXPECT_THAT(check_rank_count(facts).findings, IsEmpty());
  for (Facts& rank : facts) rank.claims.emplace_back("SLURM_NTASKS", 8);
  expect_one(check_rank_count(facts), Severity::change,
             {"MPI has 4", "SLURM_NTASKS = 8", "ranks 0, 1 on host a, ranks 2, 3 on host b"});
}

TEST(Program, MustBeTheSameEverywhere) {
  auto facts = good_facts();
  EXPECT_THAT(check_program(facts).findings, IsEmpty());
  facts[3].program = "beef";
  expect_one(check_program(facts), Severity::change, {"rank 3 on host b", "beef", "rank 0 on host a", "cafe"});
}

TEST(Libraries, MustBeTheSameEverywhere) {
  auto facts = good_facts();
  EXPECT_THAT(check_libraries(facts).findings, IsEmpty());
  facts[0].mpi = "Open MPI 5";
  expect_one(check_libraries(facts), Severity::change, {"rank 0 on host a", "Open MPI 5", "rank 1 on host a"});
  facts[0].mpi = facts[1].mpi;
  facts[2].hdf5 = "1.14";
  expect_one(check_libraries(facts), Severity::change, {"rank 2 on host b", "HDF5 '1.14'"});
}

TEST(Versions, OfDriversMustBeTheSameEverywhere) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  std::vector<std::string> versions(4, "2.28.9");
  EXPECT_THAT(check_version("NCCL", versions, hosts).findings, IsEmpty());
  EXPECT_EQ(check_version("NCCL", versions, hosts).good, "NCCL 2.28.9, the same on every rank");
  versions[2] = versions[3] = "2.27.3";
  expect_one(check_version("NCCL", versions, hosts), Severity::change,
             {"ranks 2, 3 on host b", "NCCL '2.27.3'", "rank 0 on host a '2.28.9'"});
}

TEST(Options, ThatDifferAreNamedWithBothValues) {
  auto facts = good_facts();
  EXPECT_THAT(check_options(facts).findings, IsEmpty());
  facts[2].options = "train.steps = 7\nrun.dir = runs/x\n";
  facts[3].options = facts[2].options;
  facts[1].options = "run.dir = runs/x\n";
  Check const check = check_options(facts);  // ranks 0 and 1 differ from the two that agree
  ASSERT_EQ(check.findings.size(), 2U);
  EXPECT_THAT(check.findings[0].text, HasSubstr("rank 1 on host a: has other options: train.steps is missing there"));
  EXPECT_THAT(check.findings[1].text,
              HasSubstr("rank 0 on host a: has other options: train.steps is '6' there and '7'"));
  facts[1].options = facts[0].options;
  expect_one(check_options(facts), Severity::change,
             {"ranks 2, 3 on host b", "train.steps is '7' there and '6' on rank 0"});
}

TEST(Options, RefusedByARankAreToldWithItsName) {
  auto facts = good_facts();
  facts[1].error = "tiny.cfg: cannot be read";
  expect_one(check_options(facts), Severity::change, {"rank 1 on host a: tiny.cfg: cannot be read"});
  for (Facts& rank : facts) rank.error = "train.steps = -1: must be at least 0";
  Check const everywhere = check_options(facts);
  expect_one(everywhere, Severity::change, {"train.steps = -1"});
  EXPECT_THAT(everywhere.findings[0].text, Not(HasSubstr("rank")));
}

TEST(Data, MustHoldTheSameTokensEverywhere) {
  auto facts = good_facts();
  EXPECT_THAT(check_data(facts).findings, IsEmpty());
  facts[2].data[0].hash = "0000";
  expect_one(check_data(facts), Severity::change, {"rank 2 on host b", "data/train", "f00d"});
}

TEST(Hosts, ThatATensorGroupSpansAreWarnedOf) {
  auto const facts = good_facts();
  EXPECT_THAT(check_hosts(facts, 2).findings, IsEmpty());
  EXPECT_THAT(check_hosts(facts, 2).good, HasSubstr("2 with 2 rank(s): a b"));
  expect_one(check_hosts(facts, 4), Severity::warning, {"1 tensor group(s) span hosts", "mesh.tensor = 4"});
}

TEST(Cores, FewerThanThreadsOrSharedAreWarnedOf) {
  auto facts = good_facts();
  EXPECT_THAT(check_cores(facts).findings, IsEmpty());
  facts[3].threads = 2;
  expect_one(check_cores(facts), Severity::warning, {"rank 3 on host b: 2 OpenMP threads on 1 core(s)"});
  facts = good_facts();
  facts[1].cores = {0};
  expect_one(check_cores(facts), Severity::warning, {"ranks 0, 1 on host a: 2 threads share 1 core(s)"});
  for (Facts& rank : facts) rank.cores = {0, 1, 2, 3};
  EXPECT_THAT(check_cores(facts).findings, IsEmpty()) << "not bound, and enough for all";
}

TEST(Cores, SharedThroughAThirdRankCountTogether) {
  auto facts = good_facts();
  for (Facts& rank : facts) rank.host = "a";
  facts[0].cores = {0};
  facts[1].cores = {1};
  facts[2].cores = {0, 1};
  facts[3].cores = {7};
  expect_one(check_cores(facts), Severity::warning, {"ranks 0, 1, 2 on host a: 3 threads share 2"});
}

TEST(Limits, InTheWayAreTold) {
  auto facts = good_facts();
  EXPECT_THAT(check_limits(facts, 1 << 30, 1 << 20).findings, IsEmpty());
  facts[1].limits.file_bytes = 1000;
  expect_one(check_limits(facts, 1 << 30, 1 << 20), Severity::change, {"rank 1 on host a", "ulimit -f"});
  facts = good_facts();
  facts[1].limits.address_bytes = 1 << 20;
  expect_one(check_limits(facts, 1 << 30, 1 << 20), Severity::change, {"rank 1 on host a", "ulimit -v"});
  facts = good_facts();
  facts[2].limits.open_files = 20;
  expect_one(check_limits(facts, 0, 0), Severity::warning, {"rank 2 on host b", "ulimit -n"});
  facts = good_facts();
  facts[2].limits.cpu_seconds = 3600;
  expect_one(check_limits(facts, 0, 0), Severity::warning, {"rank 2 on host b", "ulimit -t"});
  facts = good_facts();
  facts[2].limits.locked_bytes = 65536;
  EXPECT_THAT(check_limits(facts, 0, 0).findings, IsEmpty()) << "nobody needs it there";
  facts[2].limits.infiniband = true;
  expect_one(check_limits(facts, 0, 0), Severity::warning, {"rank 2 on host b", "ulimit -l"});
}

TEST(Memory, OfAHostIsSharedByItsRanks) {
  auto facts = good_facts();
  std::vector<std::int64_t> const needed(4, 400'000'000);
  EXPECT_THAT(check_memory(facts, needed).findings, IsEmpty());
  facts[3].memory_available = 700'000'000;
  expect_one(check_memory(facts, needed), Severity::change, {"ranks 2, 3 on host b", "800 MB", "700 MB"});
  for (Facts& rank : facts) rank.memory_available = 0;
  EXPECT_THAT(check_memory(facts, needed).findings, IsEmpty()) << "the system does not tell";
}

TEST(Devices, BelongToOneRankEach) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  EXPECT_THAT(check_devices(std::vector<std::string>(4), hosts, "cpu").findings, IsEmpty());
  std::vector<std::string> devices{"GPU-1", "GPU-2", "GPU-3", "GPU-4"};
  EXPECT_THAT(check_devices(devices, hosts, "some").findings, IsEmpty());
  devices[3] = "GPU-3";
  expect_one(check_devices(devices, hosts, "some"), Severity::change,
             {"ranks 2, 3 on host b", "GPU-3", "--run.collective mpi"});
}

TEST(Clocks, ApartByMoreThanASecondAreWarnedOf) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  EXPECT_THAT(check_clocks(std::vector{0.0, 0.0, 0.9, 0.0}, hosts).findings, IsEmpty());
  expect_one(check_clocks(std::vector{0.0, 0.0, -12.5, 0.0}, hosts), Severity::warning,
             {"ranks 2, 3 on host b", "12.5 s behind", "host a"});
}

TEST(Speed, MuchBelowTheMedianIsAReasonToLeaveAHostOut) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  EXPECT_THAT(check_speed(std::vector{10e9, 9e9, 5e9, 10e9}, hosts).findings, IsEmpty());
  expect_one(check_speed(std::vector{10e9, 9e9, 2e9, 10e9}, hosts), Severity::retry,
             {"rank 2 on host b", "2.00 GFLOP/s"});
}

TEST(Links, ThatChangeBytesAreNamed) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  std::vector<Link> links{{0, 1, 1e-6, 1e9, 0}, {2, 3, 1e-6, 1e9, 0}, {0, 2, 1e-5, 1e8, 0}, {1, 3, 1e-5, 1e8, 0}};
  EXPECT_THAT(judge_links(links, hosts).findings, IsEmpty());
  links[3].wrong_bytes = 2;
  expect_one(judge_links(links, hosts), Severity::retry, {"rank 1 on host a and rank 3 on host b: 2 bytes"});
}

TEST(Links, ToASlowHostNameItAmongOthers) {
  std::vector<std::string> const hosts{"a", "b", "c", "d"};
  std::vector<Link> links{{0, 1, 1e-5, 1e9, 0}, {2, 3, 1e-5, 1e8, 0}, {0, 2, 1e-5, 1e8, 0}, {1, 3, 1e-5, 1e9, 0}};
  expect_one(judge_links(links, hosts), Severity::retry, {"host c", "100 MB/s at best", "1 GB/s"});
}

TEST(Links, BetweenTwoHostsSlowerThanAnyNetworkNameBoth) {
  std::vector<std::string> const hosts{"a", "b"};
  expect_one(judge_links(std::vector<Link>{{0, 1, 1e-3, 1e6, 0}}, hosts), Severity::retry, {"hosts a and b", "1 MB/s"});
}

TEST(Links, MeasuredAgainKeepTheBetterTimesAndAllWrongBytes) {
  auto const better = better_of(std::vector<Link>{{0, 1, 2e-6, 1e6, 1}}, std::vector<Link>{{0, 1, 3e-6, 5e6, 2}});
  ASSERT_EQ(better.size(), 1U);
  EXPECT_EQ(better[0].seconds, 2e-6);
  EXPECT_EQ(better[0].bytes_per_second, 5e6);
  EXPECT_EQ(better[0].wrong_bytes, 3);
}

TEST(Groups, WithASumThatIsNotExactNameTheRank) {
  std::vector<std::string> const hosts{"a", "a", "b", "b"};
  std::vector<GroupResult> results{{1e9, 0}, {1e9, 0}, {1e9, 0}, {1e9, 0}};
  EXPECT_THAT(judge_groups("data", results, hosts, 1e6).findings, IsEmpty());
  results[2].wrong = 1;
  expect_one(judge_groups("data", results, hosts, 1e6), Severity::retry, {"rank 2 on host b", "not exact"});
  results[2] = {1e8, 0};
  results[0] = {1e8, 0};
  results.push_back({1e9, 0});
  std::vector<std::string> const more{"a", "a", "b", "b", "c"};
  expect_one(judge_groups("tensor", results, more, 0), Severity::warning, {"rank 0 on host a, rank 2 on host b"});
}

}  // namespace
}  // namespace jreg::train::preflight
