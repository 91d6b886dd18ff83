#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "mpi/communicator.h"

namespace jreg::train::preflight {

/// Token files as one rank reads them.
struct DataFacts {
  std::string name;
  std::int64_t tokens = 0;
  std::string hash;  // of tokens at the beginning, in the middle and at the end, and of where documents begin
};

/// Limits of a process; -1: none.
struct LimitFacts {
  std::int64_t open_files = -1;
  std::int64_t file_bytes = -1;
  std::int64_t address_bytes = -1;
  std::int64_t locked_bytes = -1;
  std::int64_t cpu_seconds = -1;
  bool infiniband = false;  // the host has such adapters, which need locked memory
};

/// Number of ranks by variables of launcher and Slurm.
using RankClaims = std::vector<std::pair<std::string, std::int64_t>>;

/// What a rank tells of itself.
struct Facts {
  std::string host;
  std::string program;  // hash of the executable file
  std::string version;  // "0.1.0 (commit)"
  std::string mpi;      // the library's own version text
  std::string hdf5;
  std::string options;  // a "name = value" line each
  std::string error;    // what is wrong with the options or data as this rank sees them; empty: nothing
  RankClaims claims;
  std::vector<int> cores;             // that this rank may run on
  int threads = 0;                    // of OpenMP
  std::int64_t memory_available = 0;  // bytes on this host, for all its ranks
  LimitFacts limits;
  std::vector<DataFacts> data;
};

/// Value of an environment variable, or null.
using Environment = std::function<char const*(char const*)>;

/// How many ranks the launcher and Slurm say that there are, by variable. Where mpirun started the ranks inside a Slurm
/// step (of its daemons), Slurm's numbers are those of the daemons and left out.
RankClaims claimed_ranks(Environment const& environment);

/// Bytes that further processes can have: MemAvailable of `meminfo` (/proc/meminfo), or less where a memory limit of
/// this process's control group leaves less (`limit` < 0: none).
std::int64_t available_memory(std::string const& meminfo, std::int64_t limit, std::int64_t used);

/// This process's facts, but for its claims; `options` and `error` are the caller's. Data is read where there is no
/// error.
Facts collect(config::Config const& config, std::string options, std::string error);

/// Collective: every rank's facts on every rank.
std::vector<Facts> gather(mpi::Communicator const& world, Facts const& own);

}  // namespace jreg::train::preflight
