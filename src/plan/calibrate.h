#pragma once

#include "config/config.h"
#include "mpi/communicator.h"
#include "plan/machine.h"

namespace jreg::plan {

/// Measures the CPU that this runs on: a few updates of `config` in fp32 and in bf16, whose operations are timed one by
/// one, on all ranks at once, as data-parallel ranks each with the whole batch; and all-reduces between the ranks.
/// Collective; takes some ten updates' time. The same result on every rank. `config` is resolved.
Machine calibrate(config::Config const& config, mpi::Communicator const& world);

/// The machine as a file that read_machine() takes.
std::string machine_text(Machine machine);

}  // namespace jreg::plan
