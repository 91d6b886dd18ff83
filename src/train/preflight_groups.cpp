// All-reduces of known numbers over the groups of the mesh.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "backend/arena.h"
#include "base/error.h"
#include "train/preflight_links.h"

namespace jreg::train::preflight {
namespace {

using Clock = std::chrono::steady_clock;

/// Whole numbers whose sum over fewer than 40,000 ranks stays below 2^24, and so is exact in whatever order.
float summand(int rank, std::int64_t element) {
  return static_cast<float>((element % 61) * (rank % 8) + element % 127);
}

float exact_sum(int ranks, std::int64_t element) {
  std::int64_t of_ranks = 0;
  for (int rank = ranks / 8 * 8; rank < ranks; ++rank) of_ranks += rank % 8;
  of_ranks += 28 * (ranks / 8);  // 0 + 1 + ... + 7
  return static_cast<float>((element % 61) * of_ranks + ranks * (element % 127));
}

/// Sums `elements` numbers over the group and looks at every bit of the result.
double sum_once(backend::Backend& backend, backend::Collective& group, backend::Tensor const& values,
                std::int64_t& wrong) {
  std::vector<float> host(static_cast<std::size_t>(values.size()));
  auto const bytes = static_cast<std::size_t>(values.bytes());
  for (std::int64_t i = 0; i < values.size(); ++i) host[static_cast<std::size_t>(i)] = summand(group.rank(), i);
  backend.copy_from_host(values.data, host.data(), bytes);
  auto const begin = Clock::now();
  group.all_reduce(values, backend::Reduction::sum);
  backend.synchronize();
  double const seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  backend.copy_to_host(host.data(), values.data, bytes);
  for (std::int64_t i = 0; i < values.size(); ++i) {
    auto const here = std::bit_cast<std::uint32_t>(host[static_cast<std::size_t>(i)]);
    wrong += here != std::bit_cast<std::uint32_t>(exact_sum(group.size(), i));
  }
  return seconds;
}

}  // namespace

std::vector<GroupResult> measure_groups(mpi::Communicator const& world, backend::Backend& backend,
                                        backend::Collective& group, std::span<int const> groups,
                                        std::function<void()> const& mark) {
  constexpr int repeats = 3;
  constexpr std::int64_t most = std::int64_t{1} << 20;
  constexpr double patience = 0.1;  // seconds beyond which longer sums are not tried
  expect(group.size() < 40'000, "sums of so many ranks are exact");
  backend::Tensor whole;
  backend::Arena const arena{backend, [&](backend::Placer& placer) { whole = placer.tensor(DType::f32, 1, most); }};
  double const hops = 2.0 * (group.size() - 1) / group.size();
  std::vector<double> best(groups.size(), 0.0);  // bytes a second, by group
  std::int64_t wrong_here = 0;
  double longest = 0;
  for (std::int64_t elements = most / 16; elements <= most && longest < patience; elements *= 4) {
    for (int i = 0; i < repeats; ++i) {
      mark();
      world.barrier();
      double const own = sum_once(backend, group, {whole.data, DType::f32, 1, elements}, wrong_here);
      std::vector<double> seconds(groups.size(), 0.0);  // by group: until its last rank is done
      seconds[static_cast<std::size_t>(groups[static_cast<std::size_t>(world.rank())])] = own;
      world.max(std::span{seconds});
      longest = std::ranges::max(seconds);
      for (std::size_t g = 0; g < groups.size(); ++g) {
        if (seconds[g] > 0) best[g] = std::max(best[g], hops * 4.0 * static_cast<double>(elements) / seconds[g]);
      }
    }
  }
  std::vector<std::int64_t> wrong(groups.size(), 0);  // by rank
  wrong[static_cast<std::size_t>(world.rank())] = wrong_here;
  world.sum(std::span{wrong});
  std::vector<GroupResult> results;
  for (std::size_t rank = 0; rank < groups.size(); ++rank) {
    results.push_back({best[static_cast<std::size_t>(groups[rank])], wrong[rank]});
  }
  return results;
}

Check judge_groups(char const* name, std::span<GroupResult const> results, std::span<std::string const> hosts,
                   double update_bytes) {
  constexpr double ratio = 4;
  Check check{.name = fmt::format("sums over {} ranks", name)};
  std::vector<double> rates;
  for (GroupResult const& result : results) rates.push_back(result.bytes_per_second);
  std::ranges::sort(rates);
  double const median = rates[rates.size() / 2];
  double const slowest = rates.front();
  if (slowest == 0) {
    check.good = "one rank, nothing to sum";
  } else {
    check.good = fmt::format("exact on every rank, {}/s or more through each", bytes_text(slowest));
    if (update_bytes > 0) {
      check.good += fmt::format("; {} of gradients an update take about {:.2g} s", bytes_text(update_bytes),
                                2 * update_bytes / slowest);
    }
  }
  std::vector<int> wrong;
  std::vector<int> slow;
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    if (results[rank].wrong > 0) wrong.push_back(static_cast<int>(rank));
    if (ratio * results[rank].bytes_per_second < median) slow.push_back(static_cast<int>(rank));
  }
  if (!wrong.empty()) {
    check.retry(
        fmt::format("{}: a sum over {} ranks is not exact there; leave out the host whose memory or network is "
                    "bad",
                    ranks_text(wrong, hosts), name));
  }
  if (!slow.empty()) {
    check.warn(
        fmt::format("{}: sums run at {}/s there, {}/s is the median of the ranks; a slow rank or link of these "
                    "groups slows every update",
                    ranks_text(slow, hosts), bytes_text(slowest), bytes_text(median)));
  }
  return check;
}

}  // namespace jreg::train::preflight
