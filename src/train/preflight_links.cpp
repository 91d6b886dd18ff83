#include "train/preflight_links.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>

#include "base/random.h"
#include "mpi/check.h"

namespace jreg::train::preflight {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// One end of a pair of ranks that send messages to and fro. The first one leads.
class Pair {
public:
  Pair(mpi::Communicator const& world, int partner) : world_{world}, partner_{partner} {}

  /// Round trips of 8 bytes, which tell the other side how long the next message is: 0 ends.
  void lead(Link& link, std::function<void()> const& mark) {
    constexpr int repeats = 30;
    constexpr double patience = 0.1;  // seconds of a round trip beyond which longer messages are not tried
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repeats; ++i) best = std::min(best, announce(8));
    link.seconds = best / 2;
    for (std::int64_t bytes = 1 << 16; bytes <= 1 << 22; bytes *= 4) {
      double shortest = std::numeric_limits<double>::infinity();
      for (int i = 0; i < 3; ++i) {
        mark();
        announce(bytes);
        auto const begin = Clock::now();
        send(pattern(bytes, 0));
        link.wrong_bytes += receive(bytes, 1);
        shortest = std::min(shortest, since(begin));
      }
      link.bytes_per_second = std::max(link.bytes_per_second, 2 * static_cast<double>(bytes) / shortest);
      if (shortest > patience) break;
    }
    announce(0);
    std::int64_t wrong_there = 0;
    transfer(&wrong_there, sizeof wrong_there, false);
    link.wrong_bytes += wrong_there;
  }

  void follow(std::function<void()> const& mark) {
    std::int64_t wrong = 0;
    for (std::int64_t bytes = 8; bytes != 0;) {
      transfer(&bytes, sizeof bytes, false);
      transfer(&bytes, sizeof bytes, true);
      if (bytes <= 8) continue;
      mark();
      wrong += receive(bytes, 0);
      send(pattern(bytes, 1));
    }
    transfer(&wrong, sizeof wrong, true);
  }

private:
  double announce(std::int64_t bytes) {
    auto const begin = Clock::now();
    transfer(&bytes, sizeof bytes, true);
    transfer(&bytes, sizeof bytes, false);
    return since(begin);
  }

  void transfer(void* data, std::size_t bytes, bool out) {
    auto const count = static_cast<int>(bytes);
    if (out) {
      mpi::check(MPI_Send(data, count, MPI_BYTE, partner_, 0, world_.get()));
    } else {
      mpi::check(MPI_Recv(data, count, MPI_BYTE, partner_, 0, world_.get(), MPI_STATUS_IGNORE));
    }
  }

  /// Numbers that differ between ways and lengths, made once for a length: later messages of it are the quicker ones.
  std::vector<std::uint64_t> const& pattern(std::int64_t bytes, std::int64_t way) {
    auto& values = patterns_.at(static_cast<std::size_t>(way));
    if (values.size() * sizeof(std::uint64_t) != static_cast<std::size_t>(bytes)) {
      RandomStream const random{static_cast<std::uint64_t>(way), "preflight"};
      values.resize(static_cast<std::size_t>(bytes) / sizeof(std::uint64_t));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.bits(i ^ static_cast<std::size_t>(bytes));
    }
    return values;
  }

  void send(std::vector<std::uint64_t> const& values) {
    auto const count = static_cast<int>(values.size() * sizeof(std::uint64_t));
    mpi::check(MPI_Send(values.data(), count, MPI_BYTE, partner_, 1, world_.get()));
  }

  /// Bytes of the message that are not as they were sent.
  std::int64_t receive(std::int64_t bytes, std::int64_t way) {
    std::vector<std::uint64_t> const& sent = pattern(bytes, way);
    arrived_.resize(sent.size());
    mpi::check(
        MPI_Recv(arrived_.data(), static_cast<int>(bytes), MPI_BYTE, partner_, 1, world_.get(), MPI_STATUS_IGNORE));
    auto const as_sent = std::as_bytes(std::span{sent});
    auto const here = std::as_bytes(std::span{arrived_});
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < here.size(); ++i) wrong += here[i] != as_sent[i];
    return wrong;
  }

  mpi::Communicator const& world_;
  int partner_;
  std::array<std::vector<std::uint64_t>, 2> patterns_;
  std::vector<std::uint64_t> arrived_;
};

/// Every rank's numbers on every rank: each rank filled its own of `values`.
void share(mpi::Communicator const& world, std::vector<double>& values) {
  world.sum(std::span{values});
}

bool crosses(Link const& link, std::span<std::string const> hosts) {
  return hosts[static_cast<std::size_t>(link.first)] != hosts[static_cast<std::size_t>(link.second)];
}

}  // namespace

std::vector<Link> measure_links(mpi::Communicator const& world, std::function<void()> const& mark) {
  constexpr std::size_t numbers = 3;
  std::vector<Link> links;
  for (int distance = 1; distance < world.size(); distance *= 2) {
    world.barrier();
    std::vector<double> results(numbers * static_cast<std::size_t>(world.size()), 0.0);  // (ranks, numbers)
    int const rank = world.rank();
    int const partner = rank ^ distance;
    mark();
    if (partner < world.size()) {
      Pair pair{world, partner};
      if (rank < partner) {
        Link link{.first = rank, .second = partner};
        pair.lead(link, mark);
        double* const own = &results[numbers * static_cast<std::size_t>(rank)];
        own[0] = link.seconds;
        own[1] = link.bytes_per_second;
        own[2] = static_cast<double>(link.wrong_bytes);
      } else {
        pair.follow(mark);
      }
    }
    share(world, results);
    for (int first = 0; first < world.size(); ++first) {
      int const second = first ^ distance;
      if (second < first || second >= world.size()) continue;
      double const* const of = &results[numbers * static_cast<std::size_t>(first)];
      links.push_back({first, second, of[0], of[1], std::llround(of[2])});
    }
  }
  return links;
}

std::vector<Link> better_of(std::span<Link const> before, std::span<Link const> again) {
  std::vector<Link> better{before.begin(), before.end()};
  for (std::size_t i = 0; i < better.size(); ++i) {
    better[i].seconds = std::min(better[i].seconds, again[i].seconds);
    better[i].bytes_per_second = std::max(better[i].bytes_per_second, again[i].bytes_per_second);
    better[i].wrong_bytes += again[i].wrong_bytes;
  }
  return better;
}

namespace {

/// Links between hosts, judged by the best that each host has: a slow one makes all links to it slow.
void judge_hosts(std::span<Link const> links, std::span<std::string const> hosts, Check& check) {
  constexpr double ratio = 4;
  constexpr double least = 2e6;  // bytes a second; the slowest network anybody trains over carries more
  std::set<std::string> const names{hosts.begin(), hosts.end()};
  std::vector<double> best;
  for (std::string const& name : names) {
    double rate = 0;
    for (Link const& link : links) {
      bool const ends_here =
          hosts[static_cast<std::size_t>(link.first)] == name || hosts[static_cast<std::size_t>(link.second)] == name;
      if (ends_here && crosses(link, hosts)) rate = std::max(rate, link.bytes_per_second);
    }
    best.push_back(rate);
  }
  std::vector<double> sorted = best;
  std::ranges::sort(sorted);
  double const median = sorted[sorted.size() / 2];
  if (names.size() == 2 && median < least) {  // nothing tells which of the two it is
    check.retry(
        fmt::format("hosts {} and {}: the link between them carries {}/s at best; have their network looked at, "
                    "or take other hosts",
                    *names.begin(), *names.rbegin(), bytes_text(median)));
    return;
  }
  std::size_t i = 0;
  for (std::string const& name : names) {
    double const rate = best[i++];
    if (rate >= least && ratio * rate >= median) continue;
    check.retry(
        fmt::format("host {}: its links to other hosts carry {}/s at best, the median of the hosts is {}/s; have "
                    "its network looked at, or leave the host out",
                    name, bytes_text(rate), bytes_text(median)));
  }
}

}  // namespace

Check judge_links(std::span<Link const> links, std::span<std::string const> hosts) {
  Check check{.name = "links", .good = "one rank, none"};
  std::vector<std::string> parts;
  bool across = false;
  for (bool const crossing : {false, true}) {
    double slowest = std::numeric_limits<double>::infinity();
    double latency = 0;
    for (Link const& link : links) {
      if (crosses(link, hosts) != crossing) continue;
      slowest = std::min(slowest, link.bytes_per_second);
      latency = std::max(latency, link.seconds);
    }
    if (latency == 0) continue;
    across = across || crossing;
    parts.push_back(fmt::format("{} hosts at least {}/s, at most {:.0f} us", crossing ? "between" : "inside",
                                bytes_text(slowest), 1e6 * latency));
  }
  if (!parts.empty()) check.good = parts.size() == 1 ? parts[0] : parts[0] + "; " + parts[1];
  for (Link const& link : links) {
    if (link.wrong_bytes == 0) continue;
    check.retry(
        fmt::format("between rank {} on host {} and rank {} on host {}: {} bytes arrive changed; leave out the "
                    "host whose network or memory is bad",
                    link.first, hosts[static_cast<std::size_t>(link.first)], link.second,
                    hosts[static_cast<std::size_t>(link.second)], link.wrong_bytes));
  }
  if (across) judge_hosts(links, hosts, check);
  return check;
}

std::vector<double> clock_differences(mpi::Communicator const& world, std::span<std::string const> hosts) {
  constexpr int repeats = 5;
  auto const now = [] {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  };
  std::vector<double> ahead(hosts.size(), 0.0);
  std::set<std::string> asked{hosts[0]};
  for (int rank = 1; rank < world.size(); ++rank) {
    // Of each host one rank: the others read the same clock.
    if (!asked.insert(hosts[static_cast<std::size_t>(rank)]).second) continue;
    double shortest = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repeats; ++i) {
      double theirs = 0;
      if (world.rank() == 0) {
        double const before = now();
        mpi::check(MPI_Send(&before, 1, MPI_DOUBLE, rank, 2, world.get()));
        mpi::check(MPI_Recv(&theirs, 1, MPI_DOUBLE, rank, 2, world.get(), MPI_STATUS_IGNORE));
        double const after = now();
        if (after - before >= shortest) continue;
        shortest = after - before;
        ahead[static_cast<std::size_t>(rank)] = theirs - (before + after) / 2;
      } else if (world.rank() == rank) {
        mpi::check(MPI_Recv(&theirs, 1, MPI_DOUBLE, 0, 2, world.get(), MPI_STATUS_IGNORE));
        theirs = now();
        mpi::check(MPI_Send(&theirs, 1, MPI_DOUBLE, 0, 2, world.get()));
      }
    }
  }
  share(world, ahead);
  return ahead;
}

}  // namespace jreg::train::preflight
