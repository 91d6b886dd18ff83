#include "plan/search.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "config/validate.h"
#include "plan/report.h"

namespace jreg::plan {
namespace {

config::Config config_of_170m() {
  config::Config config;
  config.run.precision = "bf16";
  config.model.layers = 12;
  config.model.hidden = 768;
  config.model.heads = 12;
  config.model.ffn = 3072;
  config.model.vocab = 32000;
  config.train.sequence_length = 2048;
  config.train.global_batch = 64;
  config.train.micro_batch = 4;
  config::resolve(config);
  return config;
}

TEST(Search, OrdersWhatFitsBySpeed) {
  Machine const machine;
  std::vector<Plan> const plans = search(config_of_170m(), 8, machine);
  ASSERT_GT(plans.size(), 10U);
  EXPECT_TRUE(std::ranges::is_sorted(plans, std::ranges::greater{}, &Plan::tokens_per_second));
  for (Plan const& plan : plans) {
    EXPECT_LE(static_cast<double>(plan.memory_bytes), 76e9);
    EXPECT_TRUE(plan.misfit.empty());
  }
  // Twelve heads divide over four ranks, not over eight.
  EXPECT_TRUE(std::ranges::any_of(plans, [](Plan const& plan) { return plan.at.tensor_size == 4; }));
  EXPECT_FALSE(std::ranges::any_of(plans, [](Plan const& plan) { return plan.at.tensor_size == 8; }));
  EXPECT_TRUE(std::ranges::any_of(plans, [](Plan const& plan) { return plan.config.train.recompute == "block"; }));
}

TEST(Search, NamesTheTermThatDoesNotFit) {
  Machine machine;
  machine.memory_gb = 5;
  machine.reserve_gb = 1;
  Plan const alone = make_plan(config_of_170m(), 1, machine);
  EXPECT_LT(alone.room, 0);
  EXPECT_NE(alone.misfit.find("activations of blocks"), std::string::npos) << alone.misfit;
  EXPECT_NE(alone.misfit.find("train.recompute = block"), std::string::npos) << alone.misfit;

  machine.memory_gb = 3.1;
  std::vector<Plan> const nearest = search(config_of_170m(), 1, machine);
  ASSERT_EQ(nearest.size(), 1U);
  EXPECT_NE(nearest.front().misfit.find("moments"), std::string::npos) << nearest.front().misfit;

  machine.memory_gb = 80;
  machine.host_memory_gb = 1;
  EXPECT_NE(make_plan(config_of_170m(), 8, machine).misfit.find("host memory"), std::string::npos);
}

TEST(Search, RefusesBatchesThatNoMeshDivides) {
  EXPECT_THROW(search(config_of_170m(), 1024, Machine{}), UserError);
  Machine alone;
  alone.node_gb = 0;
  EXPECT_THROW(make_plan(config_of_170m(), 2, alone), UserError);
}

TEST(LastLine, TellsMeshMemoryAndSpeed) {
  Plan plan{.config = config_of_170m(),
            .at = mesh::Coordinates::of(0, 8, 2),
            .memory = {},
            .memory_bytes = 12'340'000'000,
            .misfit = {},
            .update = {}};
  plan.config.mesh.zero1 = true;
  plan.update.seconds = 0.5;
  EXPECT_EQ(last_line(plan),
            "plan: data 4 x tensor 2, zero1, micro batch 4, recompute none; 12.34 GB per rank; "
            "262144 tokens/s");
}

}  // namespace
}  // namespace jreg::plan
