#pragma once

#include <functional>

#include "mpi/communicator.h"

namespace jreg::store {

/// Collective: runs `action` on this rank, then tells all ranks of failures. Where any rank threw, all ranks throw an
/// AgreedError with the lowest failing rank's text and exit code, so that none waits for another (with one rank its own
/// error passes through). The action itself must not communicate.
void agree(mpi::Communicator const& comm, std::function<void()> const& action);

/// The same for an action of the first rank alone.
void agree_on_first(mpi::Communicator const& comm, std::function<void()> const& action);

}  // namespace jreg::store
