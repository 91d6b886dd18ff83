#include "plan/calibrate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <span>
#include <vector>

#include "backend/arena.h"
#include "backend/profiled_ops.h"
#include "base/host.h"
#include "config/parse.h"
#include "train/machine.h"
#include "train/synthetic_run.h"

namespace jreg::plan {
namespace {

using backend::rehearsal::Work;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr std::size_t kinds = backend::rehearsal::work_names.size();

std::size_t at(Work work) {
  return static_cast<std::size_t>(work);
}

/// Rates of a rank, per second.
struct Rates {
  std::array<double, kinds> flop{};
  std::array<double, kinds> bytes{};
  double between = 0;  // seconds from one operation to the next
};

Rates rates_of(std::vector<backend::OperationTotal> const& totals, double seconds) {
  Rates rates;
  std::array<double, kinds> spent{};
  double operations = 0;
  for (backend::OperationTotal const& total : totals) {
    std::size_t const work = at(total.work);
    spent.at(work) += total.seconds;
    rates.flop.at(work) += total.flop;
    rates.bytes.at(work) += total.bytes;
    seconds -= total.seconds;
    operations += static_cast<double>(total.calls);
  }
  for (std::size_t work = 0; work < kinds; ++work) {
    if (spent.at(work) == 0) continue;
    rates.flop.at(work) /= spent.at(work);
    rates.bytes.at(work) /= spent.at(work);
  }
  rates.between = std::max(0.0, seconds) / operations;
  return rates;
}

/// The mean of the ranks', so that all plan with the same numbers.
Rates mean(Rates rates, mpi::Communicator const& world) {
  for (std::span<double> const values :
       std::initializer_list<std::span<double>>{rates.flop, rates.bytes, std::span{&rates.between, 1}}) {
    world.sum(values);
    for (double& value : values) value /= world.size();
  }
  return rates;
}

/// Of the fastest of a few updates on this rank alone, while the other ranks do the same.
Rates measure_update(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend) {
  constexpr int updates = 4;  // the first of which finds caches and libraries cold
  backend::ProfiledBackend profiled{backend};
  train::SyntheticRun run{config, mpi::Communicator::duplicate(MPI_COMM_SELF), profiled};
  // With the penalty: its passes are part of what norms do.
  train::Updater updater = run.updater(train::with_penalty(config.jreg), true);
  Rates rates;
  double fastest = 0;
  for (int update = 0; update < updates; ++update) {
    world.barrier();
    profiled.profile().clear();
    double const seconds = train::timed_update(run, updater, update);
    if (update == 0 || (fastest > 0 && seconds >= fastest)) continue;
    fastest = seconds;
    rates = rates_of(profiled.profile().totals(), seconds);
  }
  return mean(rates, world);
}

/// Seconds of an all-reduce of so many fp32 elements: the median of several.
double all_reduce_seconds(backend::Collective& group, backend::Backend& backend, std::int64_t elements) {
  constexpr int repetitions = 15;
  backend::Tensor values;
  backend::Arena const arena{backend,
                             [&](backend::Placer& placer) { values = placer.tensor(DType::f32, 1, elements); }};
  backend.ops().zero(values);
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) {
    auto const begin = Clock::now();
    group.all_reduce(values, backend::Reduction::sum);
    seconds.push_back(seconds_since(begin));
  }
  std::ranges::nth_element(seconds, seconds.begin() + repetitions / 2);
  return seconds[repetitions / 2];
}

struct Link {
  double gb = 0;  // 0: one rank alone
  double us = 0;
};

/// What a ring of these ranks achieves: the time of a long all-reduce less that of a short one, and that of a message.
Link measure_link(mpi::Communicator const& ranks, backend::Backend& backend, double rounds) {
  if (ranks.size() == 1) return {};
  constexpr std::int64_t large = std::int64_t{4} << 20;
  auto const group = backend.connect(ranks.get());
  std::array seconds{all_reduce_seconds(*group, backend, 1), all_reduce_seconds(*group, backend, large)};
  ranks.max(seconds);
  auto const wire = static_cast<double>(backend::all_reduce_traffic(4 * large, ranks.size()).wire);
  return {wire / std::max(seconds[1] - seconds[0], 1e-9) / 1e9, 1e6 * seconds[0] / (2 * rounds)};
}

void set_links(Machine& machine, mpi::Communicator const& world, backend::Backend& backend) {
  mpi::Communicator const node = world.split_node();
  machine.ranks_per_node = node.size();
  Link const within = measure_link(node, backend, node.size() - 1);
  machine.node_gb = within.gb;
  machine.node_us = within.us;
  machine.network_gb = machine.network_us = 0;
  if (world.size() > node.size()) {
    Layout const layout = layout_of(world.size(), 1, node.size());
    Link const between = measure_link(world, backend, std::bit_width(static_cast<unsigned>(layout.nodes - 1)));
    machine.network_gb = between.gb;
    machine.network_us = between.us;
  }
  machine.node_share = machine.network_share = 1;
  machine.overlap = 0;  // MPI makes no progress by itself
}

double in_bounds(double share) {
  return std::clamp(share, 1e-6, 1.0);
}

void set_memory(Machine& machine, backend::Backend const& backend) {
  double const node = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e9;
  machine.host_memory_gb = node;
  machine.memory_gb = node / static_cast<double>(machine.ranks_per_node);
  machine.reserve_gb = 0.1 * machine.memory_gb;
  machine.logits_mb = static_cast<double>(backend.logits_bytes()) / (1 << 20);
}

/// Shares of the fastest kind's rate, which caches may raise above the memory's own.
void set_memory_rates(Machine& machine, Rates const& rates) {
  double bandwidth = 0;
  for (Work const work : {Work::norm, Work::rope, Work::swiglu, Work::classifier, Work::optimizer, Work::other}) {
    bandwidth = std::max(bandwidth, rates.bytes.at(at(work)));
  }
  machine.bandwidth_gb = bandwidth / 1e9;
  auto const share = [&](Work work) { return in_bounds(rates.bytes.at(at(work)) / bandwidth); };
  machine.norm = share(Work::norm);
  machine.rope = share(Work::rope);
  machine.swiglu = share(Work::swiglu);
  machine.classifier = share(Work::classifier);
  machine.optimizer = share(Work::optimizer);
  machine.other = share(Work::other);
}

}  // namespace

Machine calibrate(config::Config const& config, mpi::Communicator const& world) {
  auto const backend = backend::make_backend("cpu", world.split_node().rank());
  Machine machine;
  machine.name = fmt::format("{}, {}", host_name(), backend->description());
  machine.backend = "cpu";
  set_links(machine, world, *backend);
  set_memory(machine, *backend);

  auto const compute = [&](char const* precision, DType dtype, double& peak, double& matrix, double& forward,
                           double& backward) {
    config::Config measured = config;
    measured.run.precision = precision;
    Rates const rates = measure_update(measured, world, *backend);
    std::array peaks{train::measured_gemm_rate(*backend, dtype), backend->arithmetic_peak(dtype)};
    world.max(peaks);
    double const rate = std::max({peaks[0], peaks[1], rates.flop.at(at(Work::product))});
    peak = rate / 1e12;
    matrix = in_bounds(rates.flop.at(at(Work::product)) / rate);
    forward = in_bounds(rates.flop.at(at(Work::attention)) / rate);
    backward = in_bounds(rates.flop.at(at(Work::attention_backward)) / rate);
    return rates;
  };
  compute("bf16", DType::bf16, machine.bf16_tflops, machine.matrix_bf16, machine.attention_bf16,
          machine.attention_backward_bf16);
  Rates const rates = compute("fp32", DType::f32, machine.fp32_tflops, machine.matrix_fp32, machine.attention_fp32,
                              machine.attention_backward_fp32);
  set_memory_rates(machine, rates);
  machine.operation_us = 1e6 * rates.between;
  return machine;
}

std::string machine_text(Machine machine) {
  return "# Measured by jreg plan --calibrate; how each number is meant: jreg plan --help.\n" +
         config::ini_text(config::options_of(machine));
}

}  // namespace jreg::plan
