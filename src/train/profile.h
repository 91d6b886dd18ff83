#pragma once

#include "config/config.h"
#include "mpi/communicator.h"
#include "train/machine.h"

namespace jreg::train {

/// Runs updates with every operation timed, and prints of each how long an update spends in it on the first rank,
/// against its floor: the longer of its floating point operations at the rate of large matrix products and its bytes
/// at the rate of memory (each tensor read once and written once; what a cache holds may take less). Collective.
void profile(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
             std::int64_t steps, MachineRates const& rates);

}  // namespace jreg::train
