#include "train/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "train/machine.h"
#include "train/profile.h"
#include "train/synthetic_run.h"

namespace jreg::train {
namespace {

double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  auto const at = static_cast<std::size_t>(std::lround(share * static_cast<double>(values.size() - 1)));
  return values[at];
}

/// Median of how much longer each update took than the plain one beside it in time, in percent.
double paired_overhead(std::vector<double> const& seconds, std::vector<double> const& plain) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < seconds.size(); ++i) ratios.push_back(seconds[i] / plain[i]);
  return 100 * (quantile(ratios, 0.5) - 1);
}

struct Kind {
  char const* name;
  Updater updater;
  std::vector<double> seconds{};
};

/// How long this run's gradients take from rank to rank with nothing else to do, the longest of the ranks.
double bare_reduction_seconds(TrainingSession& session) {
  session.mesh().world().barrier();
  auto const begin = std::chrono::steady_clock::now();
  for (std::size_t unit = session.store().registry().units().size(); unit-- > 0;) session.reducer().unit_done(unit);
  session.reducer().finish();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  session.mesh().world().max(std::span{&seconds, 1});
  return seconds;
}

/// What the repetitions measured, in seconds.
struct Measured {
  MachineRates own;  // of this rank
  MachineRates all;  // of all ranks together
  // When every kind had made an update, before the measurements of rates take memory.
  std::int64_t tensor_bytes = 0;
  std::int64_t resident_bytes = 0;              // peak
  std::vector<double> bare;                     // a reduction alone
  std::vector<double> within;                   // of an update: on the reduction, between the operations of backward
  std::vector<double> waiting;                  // of an update: for the reduction, behind backward
  std::array<mesh::GroupTraffic, 4> traffic{};  // of the last update
};

std::array<mesh::GroupTraffic, 4> difference(std::array<mesh::GroupTraffic, 4> now,
                                             std::array<mesh::GroupTraffic, 4> const& before) {
  for (std::size_t group = 0; group < now.size(); ++group) {
    for (std::size_t kind = 0; kind < now.at(group).counts.kinds.size(); ++kind) {
      backend::Traffic& traffic = now.at(group).counts.kinds.at(kind);
      traffic = traffic - before.at(group).counts.kinds.at(kind);
    }
  }
  return now;
}

Measured measure(SyntheticRun& run, std::span<Kind> kinds, std::int64_t steps) {
  constexpr std::int64_t warm_up = 2;
  TrainingSession& session = run.session();
  mpi::Communicator const& world = run.mesh().world();
  optim::GradientReducer const& reducer = session.reducer();
  Measured measured;
  for (std::int64_t step = 0; step < warm_up + steps; ++step) {
    for (Kind& kind : kinds) {
      std::array const before{reducer.seconds_within(), reducer.seconds_waiting()};
      auto const sent = run.mesh().traffic();
      double const seconds = timed_update(run, kind.updater, step);
      measured.traffic = difference(run.mesh().traffic(), sent);
      std::array spent{reducer.seconds_within() - before[0], reducer.seconds_waiting() - before[1]};
      world.max(spent);
      if (step < warm_up) continue;
      kind.seconds.push_back(seconds);
      measured.within.push_back(spent[0]);
      measured.waiting.push_back(spent[1]);
    }
    if (step == 0) {
      measured.tensor_bytes = static_cast<std::int64_t>(session.backend().peak_bytes());
      measured.resident_bytes = peak_resident_bytes();
    }
    measured.bare.push_back(bare_reduction_seconds(session));
    measured.own.products =
        std::max(measured.own.products, measured_gemm_rate(session.backend(), session.store().dtype()));
    measured.own.arithmetic =
        std::max(measured.own.arithmetic, session.backend().arithmetic_peak(session.store().dtype()));
  }
  measured.own.memory = measured_memory_rate(session.backend());
  std::array sums{measured.own.products, measured.own.arithmetic, measured.own.memory};
  world.sum(sums);
  measured.all = {sums[0], sums[1], sums[2]};
  return measured;
}

void print_heading(SyntheticRun& run, Measured const& measured, std::int64_t bytes_at_start, std::size_t updates) {
  TrainingSession& session = run.session();
  mesh::Mesh const& mesh = run.mesh();
  backend::Backend& backend = session.backend();
  fmt::print("{} rank(s), mesh {}, {} {}\n", mesh.world().size(), mesh.description(), session.config().run.precision,
             backend.description());
  fmt::print("{} parameters, {} tokens and {:.1f} model GFLOP an update, {} updates of each kind\n",
             session.store().registry().global_size(), session.tokens_per_update(), model_flop(session.config()) / 1e9,
             updates);
  fmt::print(
      "rates in this run, all ranks: matrix products {:.1f} GFLOP/s, arithmetic on registers {:.1f} GFLOP/s, "
      "memory {:.1f} GB/s\n",
      measured.all.products / 1e9, measured.all.arithmetic / 1e9, measured.all.memory / 1e9);
  fmt::print(
      "tensors {:.1f} MB a rank, {:.1f} MB of them activations (train.recompute = {}); peak resident {:.1f} MB, "
      "{:.1f} MB above start-up\n\n",
      static_cast<double>(measured.tensor_bytes) / 1e6, static_cast<double>(session.model().activation_bytes()) / 1e6,
      session.config().train.recompute, static_cast<double>(measured.resident_bytes) / 1e6,
      static_cast<double>(measured.resident_bytes - bytes_at_start) / 1e6);
}

void print_traffic(std::array<mesh::GroupTraffic, 4> const& traffic) {
  fmt::print("\non the wire per update on the first rank, bytes\n{:<20}{:<16}{:>8}{:>16}{:>16}\n", "group", "", "calls",
             "given", "sent in a ring");
  for (mesh::GroupTraffic const& group : traffic) {
    for (std::size_t kind = 0; kind < group.counts.kinds.size(); ++kind) {
      backend::Traffic const& sum = group.counts.kinds.at(kind);
      if (sum.calls == 0) continue;
      fmt::print("{:<20}{:<16}{:>8}{:>16}{:>16}\n", group.group, backend::collective_names.at(kind), sum.calls,
                 sum.handed_in, sum.wire);
    }
  }
}

/// A share of a rate in percent; "-" where the rate is not known.
std::string share_of(double achieved, double rate) {
  return rate > 0 ? fmt::format("{:.1f}%", 100 * achieved / rate) : "-";
}

void print_kinds(SyntheticRun& run, std::span<Kind const> kinds, Measured const& measured) {
  double const flop = model_flop(run.session().config());
  auto const tokens = static_cast<double>(run.session().tokens_per_update());
  fmt::print("{:<24}{:>10}{:>10}{:>10}{:>10}{:>12}{:>11}{:>12}{:>9}{:>11}\n", "", "median ms", "min ms", "10% ms",
             "90% ms", "tokens/s", "GFLOP/s", "of products", "of peak", "overhead");
  for (Kind const& kind : kinds) {
    double const median = quantile(kind.seconds, 0.5);
    fmt::print("{:<24}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>12.0f}{:>11.1f}{:>12}{:>9}{:>10.2f}%\n", kind.name,
               median * 1e3, quantile(kind.seconds, 0) * 1e3, quantile(kind.seconds, 0.1) * 1e3,
               quantile(kind.seconds, 0.9) * 1e3, tokens / median, flop / median / 1e9,
               share_of(flop / median, measured.all.products), share_of(flop / median, measured.all.arithmetic),
               paired_overhead(kind.seconds, kinds[0].seconds));
  }
  int const data_ranks = run.mesh().at().data_size;
  if (data_ranks > 1) {
    fmt::print(
        "\ngradient reduction over {} data ranks: {:.1f} ms alone; in an update {:.1f} ms between the operations "
        "of backward, {:.1f} ms waiting behind it\n",
        data_ranks, quantile(measured.bare, 0.5) * 1e3, quantile(measured.within, 0.5) * 1e3,
        quantile(measured.waiting, 0.5) * 1e3);
  }
  if (run.mesh().world().size() > 1) print_traffic(measured.traffic);
  std::fflush(stdout);
}

/// Times the kinds and prints what they took; returns what this rank's processor does at most.
MachineRates compare_kinds(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
                           std::int64_t steps) {
  std::int64_t const bytes_at_start = resident_bytes();
  SyntheticRun run{config, world, backend};
  config::JregConfig off = config.jreg;
  off.lambda = 0;
  std::array<Kind, 3> kinds{Kind{"no statistics", run.updater(off, false)}, Kind{"statistics", run.updater(off, true)},
                            Kind{"statistics and penalty", run.updater(with_penalty(config.jreg), true)}};
  Measured const measured = measure(run, kinds, steps);
  if (world.rank() == 0) {
    print_heading(run, measured, bytes_at_start, kinds[0].seconds.size());
    print_kinds(run, kinds, measured);
  }
  return measured.own;
}

}  // namespace

void benchmark(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
               std::int64_t steps, bool with_profile) {
  MachineRates const rates = compare_kinds(config, world, backend, steps);
  if (with_profile) profile(config, world, backend, steps, rates);
}

}  // namespace jreg::train
