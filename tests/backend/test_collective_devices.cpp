// Which ranks of which GPUs may exchange, and what becomes of those that hang.
#include <gtest/gtest.h>

#include <thread>

#include "backend/collective_test.h"

namespace jreg::backend {
namespace {

/// A CUDA backend on the first GPU; null where this machine has none, or this build has not that way to exchange.
std::unique_ptr<Backend> first_gpu(std::string const& collective) {
  try {
    return make_backend("cuda", 0, collective);
  } catch (UserError const&) {
    return nullptr;
  }
}

TEST(Connect, LetsRanksShareAGpuByMpiAlone) {
  if (auto const backend = first_gpu("mpi")) {
    EXPECT_TRUE(backend->exclusive_device().empty());
    auto const group = backend->connect(MPI_COMM_WORLD);
    Values<std::int64_t> const one{*backend, {1}};
    group->all_reduce(one.tensor(), Reduction::sum);
    EXPECT_EQ(one.get()[0], group->size());
  }
  auto const backend = first_gpu("nccl");
  if (!backend) GTEST_SKIP() << "no GPU, or no NCCL";
  EXPECT_TRUE(backend->exclusive_device().starts_with("GPU-")) << backend->exclusive_device();
  EXPECT_EQ(backend->exclusive_device().size(), std::string{"GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"}.size());
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks == 1) return;
  try {
    backend->connect(MPI_COMM_WORLD);
    FAIL() << "ranks share a GPU under NCCL";
  } catch (SystemError const& error) {
    EXPECT_NE(std::string{error.what()}.find("NCCL"), std::string::npos) << error.what();
  }
}

TEST(Abandon, LetsNobodyBeginAnExchangeAfterwards) {
  std::unique_ptr<Backend> backend;
  try {
    backend = make_backend("cuda", world_rank(), "nccl");
  } catch (UserError const& error) {
    GTEST_SKIP() << error.what();
  }
  if (devices_are_shared(*backend)) GTEST_SKIP() << "fewer GPUs than ranks";
  auto const group = backend->connect(MPI_COMM_WORLD);
  if (group->size() == 1) return;
  Values<float> const some{*backend, {1, 2, 3}};
  MPI_Barrier(MPI_COMM_WORLD);  // all are connected: nobody breaks off what another one still begins
  std::thread{[&] { backend->abandon(); }}.join();
  try {
    group->all_reduce(some.tensor(), Reduction::sum);
    FAIL() << "went on after it was broken off";
  } catch (SystemError const& error) {
    EXPECT_EQ(error.code(), ExitCode::retry);
  }
}

}  // namespace
}  // namespace jreg::backend
