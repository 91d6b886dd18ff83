// Whole updates on GPUs, or on the software device: the same losses, gradients and statistics as one rank of the CPU.
// Exchange by way of the hosts lets all ranks share one GPU; NCCL's needs one for each.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "mpi/session.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

struct Case {
  std::string name;
  std::string collective = "mpi";
  std::string precision = "fp32";
  int tensor = 1;
  bool sequence_parallel = false;
  bool zero1 = false;
  std::int64_t micro_batch = 0;
  std::string penalty = "displacement";
  std::string recompute = "none";
  std::int64_t head_size = 8;
  std::string final_state = "block";
  bool master_weights = true;
};

/// Why `collective` cannot be tried on this machine; empty where it can.
std::string missing_for(std::string const& collective) {
  auto const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
  std::string refusal;
  std::string device;
  try {
    device = backend::make_backend("cuda", world.split_node().rank(), collective)->exclusive_device();
  } catch (UserError const& error) {
    refusal = error.what();
  }
  std::set<std::string> different;
  for (std::string const& one : world.all_gather(refusal)) {
    if (!one.empty()) return one;
  }
  for (std::string const& one : world.all_gather(device)) different.insert(one);
  bool const shared = static_cast<int>(different.size()) < world.size();
  return collective == "nccl" && shared ? "ranks would share a GPU, which NCCL refuses" : "";
}

class CudaMesh : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    if (std::string const missing = missing_for(GetParam().collective); !missing.empty()) GTEST_SKIP() << missing;
  }

  static config::Config on_cpu() {
    Case const& c = GetParam();
    config::Config config = tiny_config();
    config.model.head_size = c.head_size;
    config.run.precision = c.precision;
    config.optim.master_weights = c.master_weights;
    config.jreg.penalty = c.penalty;
    config.jreg.final_state = c.final_state;
    return config;
  }
  static config::Config on_cuda() {
    Case const& c = GetParam();
    config::Config config = on_cpu();
    config.run.backend = "cuda";
    config.run.collective = c.collective;
    config.train.recompute = c.recompute;
    config.train.micro_batch = c.micro_batch;
    config.mesh.tensor = c.tensor;
    config.mesh.sequence_parallel = c.sequence_parallel;
    config.mesh.zero1 = c.zero1;
    config::validate(TinyRun::resolved(config), mpi::launched_ranks());
    return config;
  }
};

TEST_P(CudaMesh, GivesTheLossesOfOneRankOfTheCpu) {
  bool const low = GetParam().precision == "bf16";
  constexpr std::int64_t steps = 6;
  auto const reference = TinyRun{on_cpu(), MPI_COMM_SELF}.updates(steps);
  auto const ours = TinyRun{on_cuda(), MPI_COMM_WORLD}.updates(steps);
  double const loss = low ? 2e-2 : 1e-5;
  double const norm = low ? 0.1 : 1e-4;
  double const psi = low ? 2e-2 : 2e-5;
  for (std::size_t step = 0; step < ours.size(); ++step) {
    std::string const at = "step " + std::to_string(step) + " ";
    expect_near_relative(ours[step].loss, reference[step].loss, loss, 0, at + "loss");
    expect_near_relative(ours[step].grad_norm, reference[step].grad_norm, norm, 0, at + "gradient norm");
    expect_near_relative(ours[step].jreg, reference[step].jreg, psi, low ? 1e-2 : 1e-5, at + "R");
    for (std::size_t l = 0; l < reference[step].jump.displacement.size(); ++l) {
      expect_near_relative(ours[step].jump.displacement[l], reference[step].jump.displacement[l], psi,
                           low ? 1e-2 : 1e-5, at + "Psi");
    }
  }
}

TEST_P(CudaMesh, IsBitEqualWhenRunTwice) {
  auto const first = TinyRun{on_cuda(), MPI_COMM_WORLD}.updates(2);
  auto const second = TinyRun{on_cuda(), MPI_COMM_WORLD}.updates(2);
  for (std::size_t step = 0; step < first.size(); ++step) {
    EXPECT_EQ(first[step].loss, second[step].loss);
    EXPECT_EQ(first[step].grad_norm, second[step].grad_norm);
    EXPECT_EQ(first[step].jump.displacement, second[step].jump.displacement);
  }
}

/// The meshes that the ranks of this launch can form.
std::vector<Case> cases() {
  std::vector<Case> all{
      {.name = "data"},
      {.name = "data_nccl", .collective = "nccl"},
      {.name = "data_bf16", .precision = "bf16"},
      {.name = "data_zero1_bf16_alone", .precision = "bf16", .zero1 = true, .master_weights = false},
      {.name = "data_bf16_head64", .precision = "bf16", .head_size = 64},
      {.name = "data_accumulate_jump", .micro_batch = 1, .penalty = "jump"},
      {.name = "data_zero1_nccl_bf16", .collective = "nccl", .precision = "bf16", .zero1 = true, .micro_batch = 2},
      {.name = "data_zero1", .zero1 = true, .recompute = "block"},
      {.name = "tensor2", .tensor = 2},
      {.name = "tensor2_nccl_normed", .collective = "nccl", .tensor = 2, .final_state = "normed"},
      {.name = "tensor2_sequence", .tensor = 2, .sequence_parallel = true},
      {.name = "tensor2_sequence_zero1_nccl",
       .collective = "nccl",
       .tensor = 2,
       .sequence_parallel = true,
       .zero1 = true,
       .micro_batch = 1,
       .penalty = "jump"},
      {.name = "tensor4_nccl_bf16", .collective = "nccl", .precision = "bf16", .tensor = 4, .sequence_parallel = true}};
  std::erase_if(all, [](Case const& c) { return mpi::launched_ranks() % c.tensor != 0; });
  if (!backend::has_backend("cuda")) all.clear();
  return all;
}

INSTANTIATE_TEST_SUITE_P(Meshes, CudaMesh, testing::ValuesIn(cases()),
                         [](auto const& tested) { return tested.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaMesh);

}  // namespace
}  // namespace jreg::test
