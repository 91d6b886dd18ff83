#include "train/preflight_checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "train/slow_ranks.h"

namespace jreg::train::preflight {
namespace {

template <class Get> std::vector<std::string> values_of(std::span<Facts const> facts, Get&& get) {
  std::vector<std::string> values;
  for (Facts const& rank : facts) values.push_back(get(rank));
  return values;
}

/// The lowest rank that has the usual value.
std::size_t usual_rank(std::vector<int> const& odd) {
  std::size_t rank = 0;
  while (std::ranges::count(odd, static_cast<int>(rank)) > 0) ++rank;
  return rank;
}

/// The ranks of `odd` that have the same value, one group after another.
std::vector<std::vector<int>> groups_of(std::vector<int> const& odd, std::vector<std::string> const& values) {
  std::map<std::string, std::vector<int>> groups;
  for (int const rank : odd) groups[values[static_cast<std::size_t>(rank)]].push_back(rank);
  std::vector<std::vector<int>> lists;
  for (auto& [value, ranks] : groups) lists.push_back(std::move(ranks));
  return lists;
}

/// "train.steps is 5 there and 6 on rank 0, ..." of two lists of lines "name = value".
std::string differences(std::string const& there, std::string const& usual, std::size_t usual_rank) {
  constexpr std::size_t most = 3;
  auto const parse = [](std::string const& text) {
    std::map<std::string, std::string> values;
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
      auto const equals = line.find(" = ");
      if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 3);
    }
    return values;
  };
  auto const other = parse(there);
  std::vector<std::string> parts;
  std::size_t count = 0;
  for (auto const& [name, value] : parse(usual)) {
    auto const at = other.find(name);
    std::string const text = at == other.end() ? "missing" : fmt::format("'{}'", at->second);
    if (at != other.end() && at->second == value) continue;
    if (++count <= most)
      parts.push_back(fmt::format("{} is {} there and '{}' on rank {}", name, text, value, usual_rank));
  }
  if (count > most) parts.push_back(fmt::format("and {} more", count - most));
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Ranks by host, in the order of their first ranks.
std::vector<std::vector<int>> ranks_by_host(std::span<std::string const> hosts) {
  std::map<std::string, std::size_t> places;
  std::vector<std::vector<int>> ranks;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    auto const [at, added] = places.try_emplace(hosts[rank], ranks.size());
    if (added) ranks.emplace_back();
    ranks[at->second].push_back(static_cast<int>(rank));
  }
  return ranks;
}

/// Ranks whose version is not the usual one.
void compare_versions(std::string const& library, std::vector<std::string> const& versions,
                      std::span<std::string const> hosts, Check& check) {
  std::vector<int> const odd = odd_ranks(versions);
  for (auto const& group : groups_of(odd, versions)) {
    std::size_t const usual = usual_rank(odd);
    check.change(fmt::format("{}: has {} '{}', rank {} on host {} '{}'; install the same on every host",
                             ranks_text(group, hosts), library, versions[static_cast<std::size_t>(group.front())],
                             usual, hosts[usual], versions[usual]));
  }
}

}  // namespace

std::vector<std::string> hosts_of(std::span<Facts const> facts) {
  return values_of(facts, [](Facts const& rank) { return rank.host; });
}

Check check_rank_count(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  auto const ranks = static_cast<std::int64_t>(facts.size());
  Check check{.name = "ranks", .good = fmt::format("{}, as the launcher says", ranks)};
  if (facts.front().claims.empty()) check.good = fmt::format("{}, and no launcher says otherwise", ranks);
  std::map<std::pair<std::string, std::int64_t>, std::vector<int>> wrong;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    for (auto const& claim : facts[rank].claims) {
      if (claim.second != ranks) wrong[claim].push_back(static_cast<int>(rank));
    }
  }
  for (auto const& [claim, where] : wrong) {
    check.change(fmt::format(
        "MPI has {} rank(s), but {} = {} on {}; launch one rank per task: mpirun -n {} or srun --mpi=pmix, and a jreg "
        "that was built with the MPI that launches it",
        ranks, claim.first, claim.second, ranks_text(where, hosts), claim.second));
  }
  return check;
}

Check check_program(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  auto const programs = values_of(facts, [](Facts const& rank) { return rank.program + " " + rank.version; });
  Check check{.name = "program", .good = fmt::format("jreg {}, the same on every rank", facts.front().version)};
  std::vector<int> const odd = odd_ranks(programs);
  for (auto const& group : groups_of(odd, programs)) {
    std::size_t const usual = usual_rank(odd);
    Facts const& other = facts[static_cast<std::size_t>(group.front())];
    check.change(
        fmt::format("{}: runs another executable, jreg {} with hash {:.8}, than rank {} on host {}, jreg {} with hash "
                    "{:.8}; install the same build on every host",
                    ranks_text(group, hosts), other.version, other.program, usual, hosts[usual], facts[usual].version,
                    facts[usual].program));
  }
  return check;
}

Check check_libraries(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "libraries",
              .good = fmt::format("{}; HDF5 {}, the same on every rank", facts.front().mpi, facts.front().hdf5)};
  compare_versions("the MPI library", values_of(facts, [](Facts const& rank) { return rank.mpi; }), hosts, check);
  compare_versions("HDF5", values_of(facts, [](Facts const& rank) { return rank.hdf5; }), hosts, check);
  return check;
}

Check check_version(std::string const& library, std::span<std::string const> versions,
                    std::span<std::string const> hosts) {
  Check check{.name = "libraries", .good = fmt::format("{} {}, the same on every rank", library, versions.front())};
  compare_versions(library, {versions.begin(), versions.end()}, hosts, check);
  return check;
}

Check check_options(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "options and data files", .good = "accepted, and the same on every rank"};
  auto const errors = values_of(facts, [](Facts const& rank) { return rank.error; });
  std::vector<int> all(facts.size());
  std::iota(all.begin(), all.end(), 0);
  for (auto const& group : groups_of(all, errors)) {
    std::string const& error = errors[static_cast<std::size_t>(group.front())];
    if (error.empty()) continue;
    bool const everywhere = group.size() == facts.size();
    check.change(everywhere ? error : fmt::format("{}: {}", ranks_text(group, hosts), error));
  }
  if (!check.findings.empty()) return check;
  auto const options = values_of(facts, [](Facts const& rank) { return rank.options; });
  std::vector<int> const odd = odd_ranks(options);
  for (auto const& group : groups_of(odd, options)) {
    std::size_t const usual = usual_rank(odd);
    check.change(fmt::format("{}: has other options: {}; give every rank the same config file and command line",
                             ranks_text(group, hosts),
                             differences(options[static_cast<std::size_t>(group.front())], options[usual], usual)));
  }
  return check;
}

Check check_data(std::span<Facts const> facts) {
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "tokens", .good = "the same on every rank"};
  for (std::size_t i = 0; i < facts.front().data.size(); ++i) {
    // A dataset that a rank does not name differs like one with other tokens.
    auto const tokens = values_of(facts, [&](Facts const& rank) {
      if (i >= rank.data.size()) return std::string{"none"};
      return fmt::format("{} tokens, hash {:.8}", rank.data[i].tokens, rank.data[i].hash);
    });
    std::vector<int> const odd = odd_ranks(tokens);
    for (auto const& group : groups_of(odd, tokens)) {
      std::size_t const usual = usual_rank(odd);
      check.change(fmt::format("{}: {} holds {}, on rank {} on host {} {}; copy the same files to every host",
                               ranks_text(group, hosts), facts.front().data[i].name,
                               tokens[static_cast<std::size_t>(group.front())], usual, hosts[usual], tokens[usual]));
    }
  }
  return check;
}

Check check_hosts(std::span<Facts const> facts, int tensor) {
  std::vector<std::string> const hosts = hosts_of(facts);
  Check check{.name = "hosts"};
  std::map<std::size_t, std::vector<std::string>> by_ranks;
  for (auto const& ranks : ranks_by_host(hosts))
    by_ranks[ranks.size()].push_back(hosts[static_cast<std::size_t>(ranks.front())]);
  std::vector<std::string> parts;
  for (auto const& [ranks, names] : by_ranks) {
    constexpr std::size_t most = 8;
    auto const shown = std::span{names}.first(std::min(names.size(), most));
    parts.push_back(fmt::format("{} with {} rank(s): {}{}", names.size(), ranks, fmt::join(shown, " "),
                                names.size() > most ? " ..." : ""));
  }
  check.good = fmt::format("{}", fmt::join(parts, "; "));
  std::vector<int> split;
  for (std::size_t first = 0; first < hosts.size(); first += static_cast<std::size_t>(tensor)) {
    auto const group = std::span{hosts}.subspan(first, static_cast<std::size_t>(tensor));
    if (std::set<std::string>{group.begin(), group.end()}.size() > 1) split.push_back(static_cast<int>(first));
  }
  if (!split.empty()) {
    check.warn(
        fmt::format("{}: {} tensor group(s) span hosts, the first one that of rank {}; their sums in every layer "
                    "are slow there: let ranks per host be a multiple of mesh.tensor = {}",
                    check.good, split.size(), split.front(), tensor));
  }
  return check;
}

Check check_devices(std::span<std::string const> devices, std::span<std::string const> hosts, char const* backend) {
  Check check{.name = "devices", .good = fmt::format("{} backend", backend)};
  std::map<std::string, std::vector<int>> users;
  for (std::size_t rank = 0; rank < devices.size(); ++rank) {
    if (!devices[rank].empty()) users[devices[rank]].push_back(static_cast<int>(rank));
  }
  if (!users.empty()) check.good += fmt::format(", {} devices, one for each rank", users.size());
  for (auto const& [device, ranks] : users) {
    if (ranks.size() > 1) {
      check.change(
          fmt::format("{}: share device {}; start as many ranks per host as it has devices, let every rank see all of "
                      "them (--gpus-per-node, not --gpus-per-task), or exchange with --run.collective mpi",
                      ranks_text(ranks, hosts), device));
    }
  }
  return check;
}

Check check_clocks(std::span<double const> ahead, std::span<std::string const> hosts) {
  constexpr double tolerated = 1;  // seconds
  double largest = 0;
  Check check{.name = "clocks"};
  for (auto const& ranks : ranks_by_host(hosts)) {
    auto const first = static_cast<std::size_t>(ranks.front());
    largest = std::max(largest, std::abs(ahead[first]));
    if (std::abs(ahead[first]) > tolerated) {
      check.warn(fmt::format(
          "{}: the clock is {:.1f} s {} that of rank 0 on host {}, and logs and the lock of the run "
          "folder go by it: have the clocks synchronised",
          ranks_text(ranks, hosts), std::abs(ahead[first]), ahead[first] > 0 ? "ahead of" : "behind", hosts[0]));
    }
  }
  check.good = fmt::format("at most {:.3f} s apart", largest);
  return check;
}

Check check_speed(std::span<double const> rates, std::span<std::string const> hosts) {
  constexpr double ratio = 3;  // ranks that share cores for a moment are not that slow
  double const median = SlowRanks::median(rates);
  Check check{.name = "speed",
              .good = fmt::format("matrix products at {:.1f} to {:.1f} GFLOP/s a rank",
                                  *std::ranges::min_element(rates) / 1e9, *std::ranges::max_element(rates) / 1e9)};
  for (std::size_t rank = 0; rank < rates.size(); ++rank) {
    if (ratio * rates[rank] >= median) continue;
    check.retry(
        fmt::format("rank {} on host {}: multiplies matrices at {:.2f} GFLOP/s, the median of the ranks at {:.2f}; "
                    "look for other jobs, a hot processor or a wrong binding there, or leave the host out",
                    rank, hosts[rank], rates[rank] / 1e9, median / 1e9));
  }
  return check;
}

}  // namespace jreg::train::preflight
