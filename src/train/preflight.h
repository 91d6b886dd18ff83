#pragma once

#include <string>

#include "base/exit_code.h"
#include "config/config.h"
#include "mpi/communicator.h"
#include "train/preflight_facts.h"
#include "train/trainer.h"
#include "train/watchdog.h"

namespace jreg::train::preflight {

/// What the ranks of a launch find out before they have spoken to one another.
struct Request {
  config::Config config;
  TrainArguments arguments;
  RankClaims claims;    // of the environment before MPI_Init, which changes it
  std::string options;  // a "name = value" line each, as this rank has them
  std::string error;    // why this rank refuses its options; empty: it does not, and `config` is whole
};

/// Seconds after which a preflight that does not move on ends: run.step_deadline, and no more than a minute.
double deadline_of(config::Config const& config);

/// jreg train --preflight, collective over `world`: checks the launch, the hosts, the links between them and the run
/// folder for this request; the first rank prints a line for each check. Trains nothing and leaves no file. Returns 0,
/// 2 where something is to be changed, 75 where a rank, host or link is bad; the same on every rank.
ExitCode run(Request const& request, mpi::Communicator const& world, Watchdog& watchdog);

}  // namespace jreg::train::preflight
