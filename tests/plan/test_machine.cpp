#include "plan/machine.h"

#include <gtest/gtest.h>

namespace jreg::plan {
namespace {

using backend::rehearsal::Operation;
using backend::rehearsal::Transfer;
using backend::rehearsal::Work;

Machine round_numbers() {
  Machine machine;
  machine.fp32_tflops = 10;
  machine.bf16_tflops = 100;
  machine.matrix_bf16 = 0.5;
  machine.attention_fp32 = 0.1;
  machine.operation_us = 1;
  machine.bandwidth_gb = 1000;
  machine.norm = machine.other = 0.5;
  machine.node_gb = 100;
  machine.node_share = 1;
  machine.node_us = 10;
  machine.network_gb = 80;
  machine.network_share = 1;
  machine.network_us = 100;
  return machine;
}

TEST(Seconds, OfOperationsAreBoundByArithmeticOrMemory) {
  Machine const machine = round_numbers();
  EXPECT_NEAR(seconds_of(machine, Operation{Work::product, DType::bf16, 1e12, 1e6}), 0.02 + 1e-6, 1e-12);
  EXPECT_NEAR(seconds_of(machine, Operation{Work::product, DType::bf16, 1e6, 1e9}), 0.002 + 1e-6, 1e-12);
  EXPECT_NEAR(seconds_of(machine, Operation{Work::attention, DType::f32, 1e12, 0}), 1 + 1e-6, 1e-12);
  EXPECT_NEAR(seconds_of(machine, Operation{Work::norm, DType::f32, 0, 1e9}), 0.002 + 1e-6, 1e-12);
}

TEST(Layout, PutsNeighboursOnOneNode) {
  auto const of = [](int ranks, int stride) {
    Layout const layout = layout_of(ranks, stride, 8);
    return std::pair{layout.members, layout.nodes};
  };
  EXPECT_EQ(of(8, 1), std::pair(8, 1));
  EXPECT_EQ(of(4, 2), std::pair(4, 1));
  EXPECT_EQ(of(16, 2), std::pair(4, 4));
  EXPECT_EQ(of(4, 8), std::pair(1, 4));
  EXPECT_EQ(of(4, 16), std::pair(1, 4));
}

TEST(Seconds, OfTransfersAreThoseOfTheSlowestLink) {
  Machine const machine = round_numbers();
  Transfer transfer;
  transfer.kind = backend::CollectiveKind::reduce_scatter;
  transfer.traffic.wire = 1'000'000'000;
  EXPECT_NEAR(seconds_of(machine, transfer, {8, 1}, 8), 0.01 + 7e-5, 1e-9);
  // All ranks of a node in one group: the node's network is theirs.
  EXPECT_NEAR(seconds_of(machine, transfer, {8, 4}, 8), 0.0125 + 7e-5 + 2e-4, 1e-9);
  // Eight groups share it.
  EXPECT_NEAR(seconds_of(machine, transfer, {1, 4}, 8), 0.1 + 2e-4, 1e-9);
  transfer.kind = backend::CollectiveKind::all_reduce;
  EXPECT_NEAR(seconds_of(machine, transfer, {8, 1}, 8), 0.01 + 14e-5, 1e-9);
}

}  // namespace
}  // namespace jreg::plan
