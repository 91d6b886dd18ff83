#pragma once

#include <functional>

#include "base/error.h"
#include "mpi/communicator.h"

namespace jreg::commands {

/// Runs `body` on the ranks of this launch, from MPI_Init to MPI_Finalize, and returns the exit code. A launch whose
/// ranks do not find one another is refused. Of an AgreedError the first rank tells; any other error of one rank ends
/// all of them.
int run_on_ranks(std::function<ExitCode(mpi::Communicator const& world)> const& body);

/// Tells of an error that every rank finds before MPI starts, once, and returns its exit code.
int refuse(Error const& error);

}  // namespace jreg::commands
