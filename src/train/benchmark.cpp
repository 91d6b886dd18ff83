#include "train/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "train/batches.h"
#include "train/machine.h"
#include "train/update.h"

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

double timed_update(Kind& kind, mesh::Mesh const& mesh, backend::Backend& backend, std::int64_t step) {
  mesh.world().barrier();
  auto const begin = std::chrono::steady_clock::now();
  kind.updater.update(step, false);
  backend.synchronize();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  mesh.world().max(std::span{&seconds, 1});
  return seconds;
}

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
  double gemm_rate = 0;                         // all ranks
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

Measured measure(TrainingSession& session, std::span<Kind> kinds, std::int64_t steps) {
  constexpr std::int64_t warm_up = 2;
  mesh::Mesh const& mesh = session.mesh();
  optim::GradientReducer const& reducer = session.reducer();
  Measured measured;
  for (std::int64_t step = 0; step < warm_up + steps; ++step) {
    for (Kind& kind : kinds) {
      std::array const before{reducer.seconds_within(), reducer.seconds_waiting()};
      auto const sent = mesh.traffic();
      double const seconds = timed_update(kind, mesh, session.backend(), step);
      measured.traffic = difference(mesh.traffic(), sent);
      std::array spent{reducer.seconds_within() - before[0], reducer.seconds_waiting() - before[1]};
      mesh.world().max(spent);
      if (step < warm_up) continue;
      kind.seconds.push_back(seconds);
      measured.within.push_back(spent[0]);
      measured.waiting.push_back(spent[1]);
    }
    measured.bare.push_back(bare_reduction_seconds(session));
    measured.gemm_rate = std::max(measured.gemm_rate, measured_gemm_rate(session.backend(), session.store().dtype()));
  }
  mesh.world().sum(std::span{&measured.gemm_rate, 1});
  return measured;
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

void print_report(TrainingSession& session, std::span<Kind const> kinds, Measured const& measured) {
  mesh::Mesh const& mesh = session.mesh();
  backend::Backend& backend = session.backend();
  double const flop = model_flop(session.config());
  auto const tokens = static_cast<double>(session.tokens_per_update());
  fmt::print("{} rank(s), mesh {}, {} {}\n", mesh.world().size(), mesh.description(), session.config().run.precision,
             backend.description());
  fmt::print("{} parameters, {} tokens and {:.1f} model GFLOP an update, {} updates of each kind\n",
             session.store().registry().global_size(), session.tokens_per_update(), flop / 1e9,
             kinds[0].seconds.size());
  fmt::print(
      "matrix product rate in this run, all ranks: {:.1f} GFLOP/s; tensors {:.1f} MB a rank, {:.1f} MB of them "
      "activations (train.recompute = {}); peak resident {:.1f} MB\n\n",
      measured.gemm_rate / 1e9, static_cast<double>(backend.peak_bytes()) / 1e6,
      static_cast<double>(session.model().activation_bytes()) / 1e6, session.config().train.recompute,
      static_cast<double>(peak_resident_bytes()) / 1e6);
  fmt::print("{:<24}{:>10}{:>10}{:>10}{:>10}{:>12}{:>11}{:>9}{:>11}\n", "", "median ms", "min ms", "10% ms", "90% ms",
             "tokens/s", "GFLOP/s", "of peak", "overhead");
  for (Kind const& kind : kinds) {
    double const median = quantile(kind.seconds, 0.5);
    fmt::print("{:<24}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>12.0f}{:>11.1f}{:>8.1f}%{:>10.2f}%\n", kind.name,
               median * 1e3, quantile(kind.seconds, 0) * 1e3, quantile(kind.seconds, 0.1) * 1e3,
               quantile(kind.seconds, 0.9) * 1e3, tokens / median, flop / median / 1e9,
               100 * flop / median / measured.gemm_rate, paired_overhead(kind.seconds, kinds[0].seconds));
  }
  if (mesh.at().data_size > 1) {
    fmt::print(
        "\ngradient reduction over {} data ranks: {:.1f} ms alone; in an update {:.1f} ms between the operations "
        "of backward, {:.1f} ms waiting behind it\n",
        mesh.at().data_size, quantile(measured.bare, 0.5) * 1e3, quantile(measured.within, 0.5) * 1e3,
        quantile(measured.waiting, 0.5) * 1e3);
  }
  if (mesh.world().size() > 1) print_traffic(measured.traffic);
  std::fflush(stdout);
}

}  // namespace

void benchmark(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
               std::int64_t steps) {
  mesh::Mesh const mesh{world, backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads,
                        config.mesh.sequence_parallel};
  TrainingSession session{config, backend, mesh};
  session.initialise();
  BatchFeeder feeder{backend, config.train.sequence_length, session.micro_batch()};
  BatchSource const source = [&](std::int64_t step, std::int64_t micro) {
    std::int64_t const per_rank = config.train.global_batch / mesh.at().data_size;
    std::int64_t const first =
        step * config.train.global_batch + mesh.at().data * per_rank + micro * session.micro_batch();
    return feeder.synthetic(config.run.seed, first, session.micro_batch(), config.model.vocab);
  };
  config::JregConfig off = config.jreg;
  off.lambda = 0;
  config::JregConfig on = config.jreg;
  if (on.lambda == 0) on.lambda = 0.1;
  std::array<Kind, 3> kinds{Kind{"no statistics", Updater{session, off, false, source}},
                            Kind{"statistics", Updater{session, off, true, source}},
                            Kind{"statistics and penalty", Updater{session, on, true, source}}};

  Measured const measured = measure(session, kinds, steps);
  if (world.rank() == 0) print_report(session, kinds, measured);
}

}  // namespace jreg::train
