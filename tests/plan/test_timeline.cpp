#include "plan/timeline.h"

#include <gtest/gtest.h>

#include "config/validate.h"
#include "plan/search.h"

namespace jreg::plan {
namespace {

using backend::rehearsal::Finish;
using backend::rehearsal::Group;
using backend::rehearsal::Operation;
using backend::rehearsal::Transfer;
using backend::rehearsal::Work;

/// A byte in a nanosecond: operations by memory, transfers within the node.
Machine simple_machine(double overlap) {
  Machine machine;
  machine.bandwidth_gb = machine.node_gb = 1;
  machine.norm = machine.node_share = 1;
  machine.operation_us = machine.node_us = 0;
  machine.overlap = overlap;
  return machine;
}

Operation seconds_of_work(double seconds) {
  return {Work::norm, DType::f32, 0, 1e9 * seconds};
}

Transfer seconds_of_transfer(std::int64_t seconds, bool waits) {
  return {.group = Group::data,
          .ranks = 2,
          .kind = backend::CollectiveKind::all_reduce,
          .dtype = DType::f32,
          .rows = 1,
          .columns = 1,
          .traffic = {1, 0, 1'000'000'000 * seconds},
          .waits = waits};
}

mesh::Mesh mesh_of(backend::rehearsal::RehearsalBackend& backend, int data) {
  return {mesh::Coordinates::of(0, data, 1), false,
          mesh::Groups{.data = backend.group(Group::data, 0, data),
                       .tensor = backend.group(Group::tensor, 0, 1),
                       .kv_replica = backend.group(Group::kv_replica, 0, 1),
                       .all = backend.group(Group::all, 0, data)}};
}

Timeline played(std::vector<std::variant<Operation, Transfer, Finish>> events, double overlap) {
  backend::rehearsal::RehearsalBackend backend{1};
  mesh::Mesh const mesh = mesh_of(backend, 2);
  return play({std::move(events), 0}, simple_machine(overlap), mesh);
}

TEST(Timeline, HidesWhatTravelsDuringWork) {
  Timeline const line = played({seconds_of_transfer(2, false), seconds_of_work(5), Finish{0}}, 1);
  EXPECT_DOUBLE_EQ(line.seconds, 5);
  EXPECT_DOUBLE_EQ(line.waiting, 0);
  EXPECT_DOUBLE_EQ(line.transferring, 2);
}

TEST(Timeline, WaitsForWhatWorkDoesNotHide) {
  // The second transfer queues behind the first: both are through at 6.
  Timeline const line = played({seconds_of_transfer(2, false), seconds_of_work(1), seconds_of_transfer(4, false),
                                seconds_of_work(1), Finish{0}, Finish{1}},
                               1);
  EXPECT_DOUBLE_EQ(line.seconds, 6);
  EXPECT_DOUBLE_EQ(line.waiting, 4);
}

TEST(Timeline, WithoutOverlapAddsAll) {
  Timeline const line = played({seconds_of_transfer(2, false), seconds_of_work(5), Finish{0}}, 0);
  EXPECT_DOUBLE_EQ(line.seconds, 7);
  EXPECT_DOUBLE_EQ(line.waiting, 2);
  EXPECT_DOUBLE_EQ(played({seconds_of_transfer(2, true), seconds_of_work(5)}, 1).seconds, 7);
}

TEST(Timeline, OfManyMicroBatchesFollowsFromTwo) {
  config::Config config;
  config.run.precision = "bf16";
  config.model.kv_heads = 1;
  config.mesh.tensor = 2;
  config.mesh.sequence_parallel = config.mesh.zero1 = true;
  config.train.micro_batch = 2;
  config::resolve(config);
  Machine const machine;
  config.train.global_batch = 4 * 5;
  train::Rehearsal rehearsal{config, 4, 0, 1 << 20};
  Timeline const whole = play(rehearsal.update(train::Measure::penalty), machine, rehearsal.mesh());
  Timeline const derived = timeline_of(rehearsal, machine, train::Measure::penalty);
  EXPECT_NEAR(derived.seconds, whole.seconds, 1e-9 * whole.seconds);
  EXPECT_NEAR(derived.waiting, whole.waiting, 1e-9 * whole.seconds);
  EXPECT_NEAR(derived.bytes, whole.bytes, 1e-9 * whole.bytes);
  ASSERT_EQ(derived.transfers.size(), whole.transfers.size());
  ASSERT_GE(whole.transfers.size(), 9U);
  std::size_t found = 0;
  for (TransferTerm const& term : whole.transfers) {
    for (TransferTerm const& other : derived.transfers) {
      if (other.name != term.name || other.kind != term.kind) continue;
      EXPECT_EQ(other.traffic, term.traffic) << term.name;
      ++found;
    }
  }
  EXPECT_EQ(found, whole.transfers.size()) << "each purpose once";
}

}  // namespace
}  // namespace jreg::plan
