#include "train/disk_space.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "base/error.h"
#include "store/checkpoint.h"
#include "train/checkpointing.h"

namespace jreg::train {
namespace {

/// Headers, maps of the tensors, manifest.
constexpr std::int64_t small_parts = std::int64_t{64} << 10;

/// Of /train, the group that grows with every update.
std::int64_t history_bytes(SpaceNeed const& need) {
  std::int64_t const numbers = 8 + need.layers + need.layers + (need.layers + 1);
  return 8 * numbers * need.updates;
}

std::int64_t last_step(SpaceNeed const& need) {
  return need.step + need.updates;
}

bool saves_whole(SpaceNeed const& need, std::int64_t step) {
  bool const due = need.interval > 0 && step % need.interval == 0;
  return step > need.step && (due || step == last_step(need));
}

/// How many of the whole checkpoints still to come `counts`.
template <class Counts> std::int64_t count_saves(SpaceNeed const& need, Counts&& counts) {
  std::int64_t const last = last_step(need);
  std::int64_t const stride = need.interval > 0 ? need.interval : std::max<std::int64_t>(last, 1);
  std::int64_t count = 0;
  for (std::int64_t step = (need.step / stride + 1) * stride; step < last; step += stride) count += counts(step);
  return last > need.step ? count + counts(last) : count;
}

}  // namespace

SpaceNeed need_of(config::Config const& config, std::int64_t parameters, std::int64_t step, std::int64_t last) {
  return {.parameters = parameters,
          .layers = config.model.layers,
          .step = step,
          .updates = std::max<std::int64_t>(0, last - step),
          .interval = config.record.checkpoint_interval,
          .retention = retention_of(config.record),
          .existing = static_cast<std::int64_t>(store::list_checkpoints(config.run.dir).size())};
}

std::int64_t checkpoint_bytes(SpaceNeed const& need) {
  constexpr std::int64_t bytes_per_parameter = 12;
  return bytes_per_parameter * need.parameters + history_bytes(need) + small_parts;
}

std::int64_t weights_only_bytes(SpaceNeed const& need) {
  constexpr std::int64_t bytes_per_parameter = 4;
  return bytes_per_parameter * need.parameters + history_bytes(need) + small_parts;
}

std::int64_t further_checkpoints(SpaceNeed const& need) {
  if (need.updates == 0) return 0;
  if (need.retention.keep == 0) return 1;
  std::int64_t const saves = count_saves(need, [](std::int64_t) { return true; });
  std::int64_t const stay = count_saves(need, [&](std::int64_t step) { return need.retention.for_ever(step); });
  std::int64_t const newest = std::max(need.retention.keep + 1 - need.existing, std::int64_t{1});
  return std::min(newest + stay, saves);
}

std::int64_t further_weights_only(SpaceNeed const& need) {
  if (!need.retention.log_spaced || need.updates == 0) return 0;
  std::int64_t count = need.step == 0 ? 1 : 0;
  for (std::int64_t step = 1; step <= last_step(need) && store::is_log_spaced(step); step *= 2) {
    count += step > need.step && !saves_whole(need, step);
  }
  return count;
}

std::int64_t needed_bytes(SpaceNeed const& need) {
  return further_checkpoints(need) * checkpoint_bytes(need) + further_weights_only(need) * weights_only_bytes(need) +
         history_bytes(need);
}

void check_space(std::filesystem::path const& folder, SpaceNeed const& need) {
  struct statvfs space {};
  // A file system that does not tell its size is not asked further.
  if (::statvfs(folder.c_str(), &space) != 0 || space.f_blocks == 0) return;
  auto const free = static_cast<std::int64_t>(std::uint64_t{space.f_bavail} * space.f_frsize);
  std::int64_t const needed = needed_bytes(need);
  if (free >= needed) return;
  std::int64_t const weights_only = further_weights_only(need);
  throw Error{
      ExitCode::io,
      fmt::format(
          "{}: {} bytes are free, the run needs about {} ({} more checkpoint(s) of {}{} and dynamics.h5); "
          "make room, keep fewer by checkpoint.keep, keep_every or log_spaced, or choose another run.dir",
          folder.string(), free, needed, further_checkpoints(need), checkpoint_bytes(need),
          weights_only > 0 ? fmt::format(", {} of weights only of {},", weights_only, weights_only_bytes(need)) : "")};
}

}  // namespace jreg::train
