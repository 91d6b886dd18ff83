// What a preflight measures between ranks, and the estimate of memory against what a session takes.
#include <gtest/gtest.h>

#include <set>

#include "backend/cpu/cpu_collective.h"
#include "support/temporary_folder.h"
#include "train/checkpointing.h"
#include "train/preflight_facts.h"
#include "train/preflight_folder.h"
#include "train/preflight_links.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

namespace preflight = train::preflight;

TEST(PreflightLinks, MeasureEachPairOnceAndReachEveryRank) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  int marks = 0;
  auto const links = preflight::measure_links(world, [&] { ++marks; });
  std::set<std::pair<int, int>> pairs;
  std::set<int> reached;
  for (preflight::Link const& link : links) {
    EXPECT_LT(link.first, link.second);
    EXPECT_TRUE(pairs.insert({link.first, link.second}).second) << link.first << " " << link.second;
    reached.insert({link.first, link.second});
    EXPECT_GT(link.seconds, 0);
    EXPECT_GT(link.bytes_per_second, 0);
    EXPECT_EQ(link.wrong_bytes, 0);
  }
  EXPECT_EQ(static_cast<int>(reached.size()), world.size() == 1 ? 0 : world.size());
  EXPECT_EQ(marks > 0, world.size() > 1);
}

/// Adds a unit in the last place to one element of each sum on one rank, as a bad memory cell would.
class BadMemory : public backend::cpu::CpuCollective {
public:
  BadMemory(MPI_Comm group, bool bad) : CpuCollective{group}, bad_{bad} {}
  void all_reduce(backend::Tensor const& values, backend::Reduction reduction) override {
    CpuCollective::all_reduce(values, reduction);
    auto* const bits = reinterpret_cast<std::uint32_t*>(values.as<float>());
    if (bad_) bits[values.size() / 2] ^= 1U;
  }

private:
  bool bad_;
};

TEST(PreflightGroups, FindTheRankWhoseSumIsNotExact) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  auto const backend = backend::make_backend("cpu", 0);
  std::vector<int> const groups(static_cast<std::size_t>(world.size()), 0);
  for (int const odd : {-1, world.size() - 1}) {
    BadMemory group{world.get(), world.rank() == odd};
    auto const results = preflight::measure_groups(world, *backend, group, groups, [] {});
    ASSERT_EQ(static_cast<int>(results.size()), world.size());
    for (int rank = 0; rank < world.size(); ++rank) {
      auto const& result = results[static_cast<std::size_t>(rank)];
      EXPECT_EQ(result.wrong > 0, rank == odd) << rank;
      EXPECT_EQ(result.bytes_per_second > 0, world.size() > 1);
    }
  }
}

TEST(PreflightGroups, OfAMeshAreMeasuredEachAsAWhole) {
  config::Config config = tiny_config();
  config.mesh.tensor = mpi::Communicator::duplicate(MPI_COMM_WORLD).size() > 1 ? 2 : 1;
  TinyRun const run{config, MPI_COMM_WORLD};
  std::vector<int> groups;
  for (int rank = 0; rank < run.world.size(); ++rank) groups.push_back(rank / run.mesh.at().tensor_size);
  auto const results = preflight::measure_groups(run.world, *run.backend, run.mesh.tensor(), groups, [] {});
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_EQ(results[rank].wrong, 0);
    std::size_t const first = rank - rank % static_cast<std::size_t>(run.mesh.at().tensor_size);
    EXPECT_EQ(results[rank].bytes_per_second, results[first].bytes_per_second);
  }
}

TEST(PreflightClocks, OfHostsThatShareOneAgree) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::vector<std::string> const hosts = world.all_gather("host" + std::to_string(world.rank()));
  for (double const ahead : preflight::clock_differences(world, hosts)) EXPECT_NEAR(ahead, 0, 0.5);
}

TEST(PreflightFacts, ComeToEveryRankWhole) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::string const options = fmt::format("run.dir = r{}\n", world.rank());
  preflight::Facts own = preflight::collect(tiny_config(), options, "not looked for");
  own.claims = {{"OMPI_COMM_WORLD_SIZE", world.size()}};
  auto const all = preflight::gather(world, own);
  ASSERT_EQ(static_cast<int>(all.size()), world.size());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    EXPECT_EQ(all[rank].options, fmt::format("run.dir = r{}\n", rank));
    EXPECT_EQ(all[rank].program, own.program);
    EXPECT_EQ(all[rank].mpi, own.mpi);
    EXPECT_EQ(all[rank].error, "not looked for");
    EXPECT_FALSE(all[rank].cores.empty());
    EXPECT_GT(all[rank].memory_available, 0);
  }
  auto const& first = all.front();
  EXPECT_EQ(first.claims, own.claims);
  EXPECT_EQ(first.limits.open_files, own.limits.open_files);
}

TEST(PreflightFolder, IsLeftAsItWas) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::unique_ptr<TemporaryFolder> folder;
  std::string path;
  if (world.rank() == 0) {
    folder = std::make_unique<TemporaryFolder>();
    path = folder->path().string();
  }
  world.broadcast(path, 0);
  std::vector<std::string> const hosts = world.all_gather("host");
  config::Config config = TinyRun::resolved(tiny_config());
  config.run.dir = path + "/new/run";
  preflight::Check const good = preflight::check_folder(config, {}, world, hosts);
  EXPECT_TRUE(good.findings.empty()) << good.findings.front().text;
  world.barrier();
  EXPECT_TRUE(std::filesystem::is_empty(path));

  config.run.dir = "/proc/no/run";
  preflight::Check const refused = preflight::check_folder(config, {}, world, hosts);
  ASSERT_EQ(refused.findings.size(), 1U);
  EXPECT_NE(refused.findings[0].text.find("rank 0 on host host"), std::string::npos) << refused.findings[0].text;
  world.barrier();
}

TEST(PreflightFolder, InUseIsRefusedAndStaysSo) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::unique_ptr<TemporaryFolder> folder;
  std::unique_ptr<store::RunLock> held;
  std::string path;
  if (world.rank() == 0) {
    folder = std::make_unique<TemporaryFolder>();
    path = folder->path().string();
    held = std::make_unique<store::RunLock>(path);
  }
  world.broadcast(path, 0);
  config::Config config = TinyRun::resolved(tiny_config());
  config.run.dir = path;
  preflight::Check const check = preflight::check_folder(config, {}, world, world.all_gather("host"));
  ASSERT_EQ(check.findings.size(), 1U);
  EXPECT_EQ(check.findings[0].severity, preflight::Severity::change);
  EXPECT_NE(check.findings[0].text.find("in use by process"), std::string::npos) << check.findings[0].text;
  if (held) {
    EXPECT_NO_THROW(held->require_held());
  }
}

}  // namespace
}  // namespace jreg::test
