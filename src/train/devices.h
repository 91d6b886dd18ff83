#pragma once

#include <cstddef>
#include <memory>

#include "backend/backend.h"
#include "config/config.h"
#include "mpi/communicator.h"

// The backends of a launch: which device each rank has, and what it says where that is not enough.
namespace jreg::train {

/// Collective over `world`: the backend that `run` names, by each rank's place on its node. Where a rank has not what
/// it needs, all ranks throw an AgreedError.
std::unique_ptr<backend::Backend> open_backend(config::RunConfig const& run, mpi::Communicator const& world);

/// The same, and where two ranks have a device that each must have for itself, all ranks throw an AgreedError that
/// names ranks, hosts and device (exit code 2).
std::unique_ptr<backend::Backend> start_backend(config::RunConfig const& run, mpi::Communicator const& world);

/// `error`, and what this rank of the run needs in all, by what it holds. `config` is resolved and valid.
backend::OutOfMemory with_needs(backend::OutOfMemory const& error, config::Config const& config,
                                mpi::Communicator const& world, std::size_t logits_bytes);

}  // namespace jreg::train
