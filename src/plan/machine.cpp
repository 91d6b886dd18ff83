#include "plan/machine.h"

#include <algorithm>
#include <bit>

#include "config/parse.h"

namespace jreg::plan {

using backend::rehearsal::Operation;
using backend::rehearsal::Transfer;
using backend::rehearsal::Work;

Machine read_machine(std::filesystem::path const& file) {
  Machine machine;
  config::parse_file(file, config::options_of(machine));
  return machine;
}

Layout layout_of(int ranks, int stride, std::int64_t ranks_per_node) {
  auto const fitting = static_cast<int>(std::max<std::int64_t>(1, ranks_per_node / stride));
  int const members = std::min(ranks, fitting);
  return {members, (ranks + members - 1) / members};
}

namespace {

/// Share of the peak that the operation reaches where arithmetic bounds it; 0 where it hardly computes.
double arithmetic_share(Machine const& m, Operation const& operation) {
  bool const low = operation.dtype == DType::bf16;
  switch (operation.work) {
    case Work::product:
      return low ? m.matrix_bf16 : m.matrix_fp32;
    case Work::attention:
      return low ? m.attention_bf16 : m.attention_fp32;
    case Work::attention_backward:
      return low ? m.attention_backward_bf16 : m.attention_backward_fp32;
    default:
      return 0;
  }
}

double memory_share(Machine const& m, Work work) {
  switch (work) {
    case Work::norm:
      return m.norm;
    case Work::rope:
      return m.rope;
    case Work::swiglu:
      return m.swiglu;
    case Work::classifier:
      return m.classifier;
    case Work::optimizer:
      return m.optimizer;
    default:
      return m.other;
  }
}

}  // namespace

double seconds_of(Machine const& machine, Operation const& operation) {
  double seconds = operation.bytes / (1e9 * machine.bandwidth_gb * memory_share(machine, operation.work));
  if (double const share = arithmetic_share(machine, operation); share > 0) {
    seconds = std::max(seconds, operation.flop / (machine.peak_flops(operation.dtype) * share));
  }
  return seconds + 1e-6 * machine.operation_us;
}

double seconds_of(Machine const& machine, Transfer const& transfer, Layout const& layout, std::int64_t on_node) {
  auto const wire = static_cast<double>(transfer.traffic.wire);
  double seconds = 0;
  double rounds_us = 0;
  if (layout.members > 1) {
    seconds = wire / (1e9 * machine.node_gb * machine.node_share);
    rounds_us += (layout.members - 1) * machine.node_us;
  }
  if (layout.nodes > 1) {
    // A ring leaves each node once. Groups of the same kind have other members on the node and send at the same time.
    double const share = static_cast<double>(layout.members) / static_cast<double>(on_node);
    seconds = std::max(seconds, wire / (1e9 * machine.network_gb * machine.network_share * share));
    rounds_us += std::bit_width(static_cast<unsigned>(layout.nodes - 1)) * machine.network_us;
  }
  bool const both_ways = transfer.kind == backend::CollectiveKind::all_reduce;
  return seconds + 1e-6 * (both_ways ? 2 : 1) * rounds_us;
}

}  // namespace jreg::plan
