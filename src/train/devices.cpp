#include "train/devices.h"

#include <fmt/format.h>

#include "base/host.h"
#include "store/agree.h"
#include "train/preflight_checks.h"
#include "train/rehearsal.h"

namespace jreg::train {

std::unique_ptr<backend::Backend> open_backend(config::RunConfig const& run, mpi::Communicator const& world) {
  int const node_local_rank = world.split_node().rank();
  std::unique_ptr<backend::Backend> backend;
  store::agree(world, [&] { backend = backend::make_backend(run.backend, node_local_rank, run.collective); });
  return backend;
}

std::unique_ptr<backend::Backend> start_backend(config::RunConfig const& run, mpi::Communicator const& world) {
  auto backend = open_backend(run, world);
  auto const devices = world.all_gather(backend->exclusive_device());
  auto const check = preflight::check_devices(devices, world.all_gather(host_name()), backend->name());
  if (!check.findings.empty()) throw AgreedError{ExitCode::usage, check.findings.front().text};
  return backend;
}

backend::OutOfMemory with_needs(backend::OutOfMemory const& error, config::Config const& config,
                                mpi::Communicator const& world, std::size_t logits_bytes) {
  Rehearsal const rehearsal{config, world.size(), world.rank(), logits_bytes};
  std::int64_t const total = rehearsal.memory_bytes();
  return backend::OutOfMemory{fmt::format("{}. This rank needs {:.1f} MB in all: {}", error.what(),
                                          static_cast<double>(total) / 1e6, memory_text(rehearsal.memory(), total))};
}

}  // namespace jreg::train
