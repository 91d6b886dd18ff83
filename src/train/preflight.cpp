#include "train/preflight.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "mesh/mesh.h"
#include "train/devices.h"
#include "train/machine.h"
#include "train/preflight_checks.h"
#include "train/preflight_folder.h"
#include "train/preflight_links.h"
#include "train/rehearsal.h"

namespace jreg::train::preflight {
namespace {

/// A slow time is taken again before it is told: it may have been of a moment.
constexpr int attempts = 3;

bool is_slow(Check const& check) {
  return std::ranges::count(check.findings, Severity::retry, &Finding::severity) > 0;
}

Check links(mpi::Communicator const& world, std::span<std::string const> hosts, std::function<void()> const& mark) {
  std::vector<Link> best = measure_links(world, mark);
  Check check = judge_links(best, hosts);
  for (int attempt = 1; attempt < attempts && is_slow(check); ++attempt) {
    best = better_of(best, measure_links(world, mark));
    check = judge_links(best, hosts);
  }
  return check;
}

Check speed(mpi::Communicator const& world, backend::Backend& backend, DType dtype, std::span<std::string const> hosts,
            std::function<void()> const& mark) {
  std::vector<double> best(hosts.size(), 0.0);  // by rank
  Check check;
  for (int attempt = 0; attempt < attempts && (attempt == 0 || is_slow(check)); ++attempt) {
    mark();
    world.barrier();
    auto const own = static_cast<std::size_t>(world.rank());
    std::vector<double> rates(hosts.size(), 0.0);
    rates[own] = measured_gemm_rate(backend, dtype);
    world.sum(std::span{rates});
    for (std::size_t rank = 0; rank < rates.size(); ++rank) best[rank] = std::max(best[rank], rates[rank]);
    check = check_speed(best, hosts);
  }
  return check;
}

/// What the run would take of every rank: memory, and the limits of processes.
void check_needs(config::Config const& config, mpi::Communicator const& world, std::span<Facts const> facts,
                 std::size_t logits_bytes, Report& report) {
  Rehearsal const rehearsal{config, world.size(), world.rank(), logits_bytes};
  auto const own = static_cast<std::size_t>(world.rank());
  std::vector<std::int64_t> memory(facts.size(), 0);  // by rank
  std::vector<std::int64_t> files(facts.size(), 0);   // by rank: its file holds what its copy for checkpoints does
  memory[own] = rehearsal.memory_bytes() + rehearsal.host_bytes();
  files[own] = rehearsal.host_bytes();
  world.sum(std::span{memory});
  world.sum(std::span{files});
  report.add(check_limits(facts, std::ranges::max(memory), std::ranges::max(files)));
  report.add(check_memory(facts, memory));
}

/// Whether ranks, program and options are right: without that nothing else can be found out.
bool launch_is_good(std::span<Facts const> facts, Report& report) {
  report.add(check_rank_count(facts));
  report.add(check_program(facts));
  report.add(check_libraries(facts));
  report.add(check_options(facts));
  return report.code() == ExitCode::done;
}

/// Whether ranks can exchange what is on their devices: without that there is no mesh of them.
bool devices_are_good(mpi::Communicator const& world, backend::Backend const& backend,
                      std::span<std::string const> hosts, Report& report) {
  report.add(check_devices(world.all_gather(backend.exclusive_device()), hosts, backend.name()));
  std::vector<backend::LibraryVersion> const own = backend.library_versions();
  for (backend::LibraryVersion const& library : own) {
    report.add(check_version(library.name, world.all_gather(library.version), hosts));
  }
  return report.code() == ExitCode::done;
}

void check_groups(mpi::Communicator const& world, backend::Backend& backend, mesh::Mesh const& mesh,
                  config::Config const& config, std::span<std::string const> hosts, std::function<void()> const& mark,
                  Report& report) {
  auto const registry = model::declare_parameters(config.model, mesh.at(), mesh.sequence_parallel()).registry;
  double const gradients = 4.0 * static_cast<double>(registry.flat_size());
  std::vector<int> data_groups;
  std::vector<int> tensor_groups;
  for (int rank = 0; rank < world.size(); ++rank) {
    mesh::Coordinates const at = mesh::Coordinates::of(rank, world.size(), mesh.at().tensor_size);
    data_groups.push_back(at.tensor);
    tensor_groups.push_back(at.data);
  }
  report.add(judge_groups("data", measure_groups(world, backend, mesh.data(), data_groups, mark), hosts, gradients));
  report.add(judge_groups("tensor", measure_groups(world, backend, mesh.tensor(), tensor_groups, mark), hosts, 0));
}

}  // namespace

double deadline_of(config::Config const& config) {
  constexpr double most = 60;
  return config.run.step_deadline > 0 ? std::min(config.run.step_deadline, most) : most;
}

ExitCode run(Request const& request, mpi::Communicator const& world, Watchdog& watchdog) {
  auto const mark = [&] { watchdog.mark(Phase::preflight, 0); };
  mark();
  config::Config const& config = request.config;
  Facts own = collect(config, request.options, request.error);
  own.claims = request.claims;
  std::vector<Facts> const facts = gather(world, own);
  mark();
  Report report{world.rank() == 0};
  log::info("preflight of {} rank(s): nothing is trained, and nothing kept", world.size());
  if (!launch_is_good(facts, report)) {
    report.conclude();
    return report.code();
  }
  std::vector<std::string> const hosts = hosts_of(facts);
  auto const backend = open_backend(config.run, world);
  Watchdog::OnHang const abandon{watchdog, [&] { backend->abandon(); }};
  if (!devices_are_good(world, *backend, hosts, report)) {
    report.conclude();
    return report.code();
  }
  mesh::Mesh const mesh{world, *backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads,
                        config.mesh.sequence_parallel};
  report.add(check_data(facts));
  report.add(check_hosts(facts, static_cast<int>(config.mesh.tensor)));
  report.add(check_cores(facts));
  check_needs(config, world, facts, backend->logits_bytes(), report);
  report.add(check_clocks(clock_differences(world, hosts), hosts));
  mark();
  report.add(check_folder(config, request.arguments, world, hosts));
  mark();
  report.add(links(world, hosts, mark));
  check_groups(world, *backend, mesh, config, hosts, mark, report);
  report.add(speed(world, *backend, config.run.precision == "bf16" ? DType::bf16 : DType::f32, hosts, mark));
  report.conclude();
  return report.code();
}

}  // namespace jreg::train::preflight
