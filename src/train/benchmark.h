#pragma once

#include "config/config.h"
#include "mpi/communicator.h"
#include "train/session.h"

namespace jreg::train {

/// Times updates on synthetic tokens, three kinds in turn so that all see the same machine: without statistics, with
/// the statistics of every update (lambda = 0), and with the penalty. The first rank prints a table: time of an update
/// (median, minimum, 10-90%), tokens/s, model GFLOP/s, its share of the rates of matrix products and of bare arithmetic
/// measured in the same run, what statistics and penalty cost against their neighbours in time, memory, how much of the
/// gradients' reduction does not hide behind the backward pass, and what an update sends. `with_profile`: then a
/// profile, see profile.h. Collective.
void benchmark(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend,
               std::int64_t steps, bool with_profile);

}  // namespace jreg::train
