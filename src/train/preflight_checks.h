#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/preflight_facts.h"
#include "train/preflight_report.h"

// What the ranks tell of themselves, judged: pure functions of the facts by rank.
namespace jreg::train::preflight {

std::vector<std::string> hosts_of(std::span<Facts const> facts);

/// As many ranks as the launcher and Slurm say, and no rank with something wrong of its own (options, data).
Check check_rank_count(std::span<Facts const> facts);
/// The same executable everywhere.
Check check_program(std::span<Facts const> facts);
/// The same MPI and HDF5 libraries everywhere.
Check check_libraries(std::span<Facts const> facts);
/// No rank refuses its options, and all have the same.
Check check_options(std::span<Facts const> facts);
/// The same tokens everywhere.
Check check_data(std::span<Facts const> facts);
/// Which ranks share a host; tensor groups of `tensor` neighbouring ranks that do not are warned of.
Check check_hosts(std::span<Facts const> facts, int tensor);
/// A core for each thread, and none shared by two ranks.
Check check_cores(std::span<Facts const> facts);
/// Limits of the processes that a run of `needed_bytes` memory and checkpoint files of `file_bytes` a rank would meet.
Check check_limits(std::span<Facts const> facts, std::int64_t needed_bytes, std::int64_t file_bytes);
/// `needed` bytes a rank, by rank, against what its host has.
Check check_memory(std::span<Facts const> facts, std::span<std::int64_t const> needed);
/// No device twice. `devices` by rank, as Backend::exclusive_device() names them.
Check check_devices(std::span<std::string const> devices, std::span<std::string const> hosts, char const* backend);
/// The same version of `library` everywhere; `versions` by rank.
Check check_version(std::string const& library, std::span<std::string const> versions,
                    std::span<std::string const> hosts);
/// Seconds that the clock of each rank's host is ahead of the first rank's, by rank.
Check check_clocks(std::span<double const> ahead, std::span<std::string const> hosts);
/// Floating point operations a second, by rank: much slower ones are told of.
Check check_speed(std::span<double const> rates, std::span<std::string const> hosts);

}  // namespace jreg::train::preflight
