// A profile counts an update's operations, and leaves what they compute as it is.
#include <gtest/gtest.h>

#include "backend/profiled_ops.h"
#include "train/synthetic_run.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

struct Counted {
  std::int64_t calls = 0;
  double flop = 0;
};

/// Of operations whose names begin so.
Counted counted(std::vector<backend::OperationTotal> const& totals, std::string const& name) {
  Counted sum;
  for (backend::OperationTotal const& total : totals) {
    if (!total.name.starts_with(name)) continue;
    sum.calls += total.calls;
    sum.flop += total.cost.flop;
  }
  return sum;
}

config::Config profiled_config(std::string const& recompute) {
  config::Config config = tiny_config();
  config.train.recompute = recompute;
  config.train.micro_batch = 4;
  return TinyRun::resolved(config);
}

struct Profiled {
  train::UpdateResult result;
  std::vector<backend::OperationTotal> totals;
};
Profiled profiled_update(std::string const& recompute) {
  config::Config const config = profiled_config(recompute);
  auto const plain = backend::make_backend("cpu", 0);
  backend::ProfiledBackend backend{*plain};
  train::SyntheticRun run{config, mpi::Communicator::duplicate(MPI_COMM_SELF), backend};
  train::Updater updater = run.updater(config.jreg, true);
  Profiled profiled;
  profiled.result = updater.update(0, false);
  profiled.totals = backend.profile().totals();
  return profiled;
}

TEST(Profile, LeavesTheUpdateAsItIs) {
  auto const plain = TinyRun{profiled_config("none"), MPI_COMM_SELF}.updates(1).front();
  Profiled const profiled = profiled_update("none");
  EXPECT_EQ(profiled.result.loss, plain.loss);
  EXPECT_EQ(profiled.result.grad_norm, plain.grad_norm);
  EXPECT_EQ(profiled.result.jump.displacement, plain.jump.displacement);
}

// The tiny model: 8 sequences of 16 tokens, hidden 32, 4 query and 2 key/value heads of 8, ffn 48, vocabulary 67, three
// blocks.
constexpr double tokens = 8 * 16;
constexpr double qkv = 32 * (4 + 2 * 2) * 8;
constexpr double output = 4 * 8 * 32;
constexpr double gate_up = 32 * 2 * 48;
constexpr double down = 48 * 32;
constexpr double pairs = 16 * 17 / 2.0 * 8 * 4 * 8;  // scores of all heads and sequences, times the size of a head

TEST(Profile, CountsTheProductsOfAnUpdate) {
  auto const totals = profiled_update("none").totals;
  // Each matrix is multiplied three times a micro-batch, of which there are two.
  EXPECT_EQ(counted(totals, "linear").flop, 6 * tokens * (3 * (qkv + output + gate_up + down) + 67 * 32));
  EXPECT_EQ(counted(totals, "linear").calls, 2 * 3 * (3 * 4 + 1));
  EXPECT_EQ(counted(totals, "attention").flop, 3 * 2 * (2 + 5) * pairs);
  EXPECT_EQ(counted(totals, "attention").calls, 2 * 3 * 2);
  EXPECT_EQ(counted(totals, "residual_norm").calls, 2 * (1 + 2 * 3));
  EXPECT_EQ(counted(totals, "norm_backward").calls, 2 * (1 + 2 * 3));
}

TEST(Profile, ShowsWhatIsComputedAgain) {
  auto const none = profiled_update("none").totals;
  auto const added = [&](char const* recompute, char const* name) {
    return counted(profiled_update(recompute).totals, name).flop - counted(none, name).flop;
  };
  constexpr double others = 2;  // blocks in front of the last
  EXPECT_EQ(added("attention", "linear"), 2 * tokens * others * qkv);
  EXPECT_EQ(added("attention", "attention"), 2 * others * 2 * pairs);
  EXPECT_EQ(added("mlp", "linear"), 2 * tokens * others * gate_up);
  EXPECT_EQ(added("mlp", "attention"), 0);
  EXPECT_EQ(added("block", "linear"), 2 * tokens * others * (qkv + output + gate_up));
  EXPECT_EQ(added("block", "attention"), 2 * others * 2 * pairs);
}

}  // namespace
}  // namespace jreg::test
