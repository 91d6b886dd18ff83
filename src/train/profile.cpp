#include "train/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "backend/profiled_ops.h"
#include "train/synthetic_run.h"

namespace jreg::train {
namespace {

/// Seconds this rank has spent in other ranks' company.
double seconds_of_exchange(SyntheticRun& run) {
  mesh::Mesh const& mesh = run.mesh();
  double seconds = run.session().reducer().seconds_within() + run.session().reducer().seconds_waiting() +
                   run.session().adamw().gather().seconds_waiting();
  for (backend::Collective const* const group : {&mesh.tensor(), &mesh.data(), &mesh.kv_replica(), &mesh.all()}) {
    seconds += group->waited_seconds();
  }
  return seconds;
}

/// Of some updates, in seconds.
struct Spent {
  double updates = 0;
  double exchange = 0;
};

void print_profile(std::vector<backend::OperationTotal> const& totals, Spent const& spent, std::int64_t steps,
                   MachineRates const& rates) {
  auto const updates = static_cast<double>(steps);
  double operations = 0;
  double floors = 0;
  fmt::print(
      "\nprofile of {} update(s) with statistics and penalty on the first rank, a line an operation and shape, each an "
      "update's:\n",
      steps);
  fmt::print("{:<24}{:>20}{:>7}{:>10}{:>8}{:>9}{:>10}{:>10}{:>10}\n", "", "shape", "calls", "ms", "share", "GFLOP",
             "MB", "floor ms", "x floor");
  for (backend::OperationTotal const& total : totals) {
    double const floor = std::max(total.flop / rates.products, total.bytes / rates.memory);
    operations += total.seconds;
    floors += floor;
    fmt::print("{:<24}{:>20}{:>7}{:>10.3f}{:>7.1f}%{:>9.3f}{:>10.3f}{:>10.3f}{:>10.2f}\n", total.name, total.shape,
               total.calls / steps, total.seconds / updates * 1e3, 100 * total.seconds / spent.updates,
               total.flop / updates / 1e9, total.bytes / updates / 1e6, floor / updates * 1e3, total.seconds / floor);
  }
  fmt::print(
      "an update {:.2f} ms: operations {:.2f} ms (their floors {:.2f} ms), exchange with other ranks {:.2f} ms, "
      "everything else {:.2f} ms\n",
      spent.updates / updates * 1e3, operations / updates * 1e3, floors / updates * 1e3, spent.exchange / updates * 1e3,
      (spent.updates - operations - spent.exchange) / updates * 1e3);
  std::fflush(stdout);
}

}  // namespace

void profile(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
             std::int64_t steps, MachineRates const& rates) {
  constexpr std::int64_t warm_up = 1;
  backend::ProfiledBackend profiled{backend};
  SyntheticRun run{config, world, profiled};
  Updater updater = run.updater(with_penalty(config.jreg), true);
  Spent spent;
  for (std::int64_t step = 0; step < warm_up + steps; ++step) {
    if (step == warm_up) {
      profiled.profile().clear();
      spent = {.exchange = -seconds_of_exchange(run)};
    }
    spent.updates += timed_update(run, updater, step);
  }
  spent.exchange += seconds_of_exchange(run);
  if (world.rank() == 0) print_profile(profiled.profile().totals(), spent, steps, rates);
}

}  // namespace jreg::train
