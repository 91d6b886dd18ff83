// Cores, limits and memory of the hosts against what the ranks take.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "train/preflight_checks.h"

namespace jreg::train::preflight {
namespace {

/// Ranks of one host that share cores, directly or through others, and those cores.
struct Sharing {
  std::vector<int> ranks;
  std::set<int> cores;
  int threads = 0;
};

std::vector<Sharing> sharing_on(std::string const& host, std::span<Facts const> facts) {
  std::vector<Sharing> found;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    if (facts[rank].host != host) continue;
    Sharing own{{static_cast<int>(rank)}, {facts[rank].cores.begin(), facts[rank].cores.end()}, facts[rank].threads};
    std::vector<Sharing> apart;
    for (Sharing& other : found) {
      bool const meets = std::ranges::any_of(own.cores, [&](int core) { return other.cores.contains(core); });
      if (meets) {
        own.ranks.insert(own.ranks.begin(), other.ranks.begin(), other.ranks.end());
        own.cores.insert(other.cores.begin(), other.cores.end());
        own.threads += other.threads;
      } else {
        apart.push_back(std::move(other));
      }
    }
    std::ranges::sort(own.ranks);
    apart.push_back(std::move(own));
    found = std::move(apart);
  }
  return found;
}

std::set<std::string> distinct(std::vector<std::string> const& hosts) {
  return {hosts.begin(), hosts.end()};
}

}  // namespace

Check check_cores(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "cores",
              .good = fmt::format("{} OpenMP thread(s) a rank, each with a core", facts.front().threads)};
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    auto const cores = static_cast<int>(facts[rank].cores.size());
    if (cores == 0 || cores >= facts[rank].threads) continue;
    check.warn(
        fmt::format("rank {} on host {}: {} OpenMP threads on {} core(s); set OMP_NUM_THREADS, or launch with "
                    "--map-by slot:PE={} --bind-to core",
                    rank, hosts[rank], facts[rank].threads, cores, facts[rank].threads));
  }
  for (std::string const& host : distinct(hosts)) {
    for (Sharing const& sharing : sharing_on(host, facts)) {
      bool const enough = static_cast<int>(sharing.cores.size()) >= sharing.threads;
      if (sharing.ranks.size() < 2 || enough || sharing.cores.empty()) continue;
      check.warn(
          fmt::format("{}: {} threads share {} core(s); start fewer ranks there, or bind each rank to cores of "
                      "its own",
                      ranks_text(sharing.ranks, hosts), sharing.threads, sharing.cores.size()));
    }
  }
  return check;
}

Check check_limits(std::span<Facts const> facts, std::int64_t needed_bytes, std::int64_t file_bytes) {
  constexpr std::int64_t own_files = 64;  // libraries, tokens, checkpoints
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "limits", .good = "none in the way"};
  auto const below = [&](std::int64_t LimitFacts::*limit, std::int64_t needed) {
    std::vector<int> ranks;
    for (std::size_t rank = 0; rank < facts.size(); ++rank) {
      std::int64_t const value = facts[rank].limits.*limit;
      if (value >= 0 && value < needed) ranks.push_back(static_cast<int>(rank));
    }
    return ranks;
  };
  std::int64_t const files = own_files + 2 * static_cast<std::int64_t>(facts.size());  // two sockets for a peer
  if (auto const ranks = below(&LimitFacts::open_files, files); !ranks.empty()) {
    check.warn(fmt::format("{}: fewer open files are allowed than about {}; raise it with ulimit -n {}",
                           ranks_text(ranks, hosts), files, files));
  }
  if (auto const ranks = below(&LimitFacts::file_bytes, file_bytes); !ranks.empty()) {
    check.change(fmt::format("{}: files may not grow to the {} of a checkpoint's; lift it with ulimit -f unlimited",
                             ranks_text(ranks, hosts), bytes_text(static_cast<double>(file_bytes))));
  }
  if (auto const ranks = below(&LimitFacts::address_bytes, needed_bytes); !ranks.empty()) {
    check.change(fmt::format("{}: a process may not have the {} that a rank needs; lift it with ulimit -v unlimited",
                             ranks_text(ranks, hosts), bytes_text(static_cast<double>(needed_bytes))));
  }
  std::vector<int> timed;
  std::vector<int> unlocked;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    LimitFacts const& limits = facts[rank].limits;
    if (limits.cpu_seconds >= 0) timed.push_back(static_cast<int>(rank));
    if (limits.infiniband && limits.locked_bytes >= 0) unlocked.push_back(static_cast<int>(rank));
  }
  if (!timed.empty()) {
    check.warn(
        fmt::format("{}: processor time is limited, and the system ends a process that uses it up; lift it with "
                    "ulimit -t unlimited",
                    ranks_text(timed, hosts)));
  }
  if (!unlocked.empty()) {
    check.warn(
        fmt::format("{}: locked memory is limited, InfiniBand wants ulimit -l unlimited", ranks_text(unlocked, hosts)));
  }
  return check;
}

Check check_memory(std::span<Facts const> facts, std::span<std::int64_t const> needed) {
  struct HostMemory {
    std::vector<int> ranks;
    std::int64_t needed = 0;
    std::int64_t available = 0;
  };
  std::vector<std::string> const hosts = hosts_of(facts);
  std::map<std::string, HostMemory> by_host;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    HostMemory& host = by_host[hosts[rank]];
    std::int64_t const available = facts[rank].memory_available;
    host.available = host.ranks.empty() ? available : std::min(host.available, available);
    host.ranks.push_back(static_cast<int>(rank));
    host.needed += needed[rank];
  }
  Check check{.name = "memory"};
  double tightest = 0;
  for (auto const& [name, host] : by_host) {
    if (host.available == 0) continue;  // the system does not tell
    auto const needs = static_cast<double>(host.needed);
    auto const has = static_cast<double>(host.available);
    if (needs / has >= tightest) {
      tightest = needs / has;
      check.good = fmt::format("about {} of {} available on host {}", bytes_text(needs), bytes_text(has), name);
    }
    if (needs > has) {
      check.change(
          fmt::format("{}: need about {}, {} are available; start fewer ranks per host, raise mesh.tensor, set "
                      "mesh.zero1 = true or lower train.micro_batch",
                      ranks_text(host.ranks, hosts), bytes_text(needs), bytes_text(has)));
    }
  }
  if (check.good.empty()) check.good = "the system does not tell what is available";
  return check;
}

}  // namespace jreg::train::preflight
