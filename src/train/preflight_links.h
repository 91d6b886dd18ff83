#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mesh/mesh.h"
#include "train/preflight_report.h"

namespace jreg::train::preflight {

/// What two ranks measured between them, both ways.
struct Link {
  int first = 0;
  int second = 0;
  double seconds = 0;           // of a message of 8 bytes one way, the best
  double bytes_per_second = 0;  // of long messages one way, the best
  std::int64_t wrong_bytes = 0;
};

/// Collective: pairs of ranks whose numbers differ in one binary digit exchange messages and look whether they arrive
/// unchanged; every rank gets all results. `mark` is called between messages.
std::vector<Link> measure_links(mpi::Communicator const& world, std::function<void()> const& mark);

/// The better of two measurements of the same links; wrong bytes stay.
std::vector<Link> better_of(std::span<Link const> before, std::span<Link const> again);

/// Bytes changed on the way, and links or hosts much slower than the others, are a reason to leave a host out.
Check judge_links(std::span<Link const> links, std::span<std::string const> hosts);

/// What all-reduces of a rank's group took and gave.
struct GroupResult {
  double bytes_per_second = 0;  // that each rank of its group sends and receives, the best; 0 in a group of one
  std::int64_t wrong = 0;       // elements that are not bit for bit the exact sum
};

/// Collective: sums known numbers, whose sum is exact, over each group of one kind (`group` is the one of this rank),
/// as an update sums gradients. `groups`: which group a rank is in, from 0, by rank. Results by rank.
std::vector<GroupResult> measure_groups(mpi::Communicator const& world, backend::Backend& backend,
                                        backend::Collective& group, std::span<int const> groups,
                                        std::function<void()> const& mark);

/// `name`: "data" or "tensor". `update_bytes` is what an update sums over such a group.
Check judge_groups(char const* name, std::span<GroupResult const> results, std::span<std::string const> hosts,
                   double update_bytes);

/// Collective: seconds that the clock of each rank is ahead of the first rank's, by rank.
std::vector<double> clock_differences(mpi::Communicator const& world, std::span<std::string const> hosts);

}  // namespace jreg::train::preflight
