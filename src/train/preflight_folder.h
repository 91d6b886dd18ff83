#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "config/config.h"
#include "mpi/communicator.h"
#include "train/preflight_report.h"
#include "train/trainer.h"

namespace jreg::train::preflight {

/// Collective: whether the first rank may begin the run in run.dir (not in use, checkpoints only where the options go
/// on from them, room for what the run will write), and whether every rank sees the same folder and can write there.
/// What is made for that is removed again, the folder too where it was not there.
Check check_folder(config::Config const& config, TrainArguments const& arguments, mpi::Communicator const& world,
                   std::span<std::string const> hosts);

}  // namespace jreg::train::preflight
