#include "train/disk_space.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "base/error.h"

namespace jreg::train {
namespace {

/// Headers, maps of the tensors, manifest.
constexpr std::int64_t small_parts = std::int64_t{64} << 10;

/// Of /train, the group that grows with every update.
std::int64_t history_bytes(SpaceNeed const& need) {
  std::int64_t const numbers = 8 + need.layers + need.layers + (need.layers + 1);
  return 8 * numbers * need.updates;
}

}  // namespace

std::int64_t checkpoint_bytes(SpaceNeed const& need) {
  constexpr std::int64_t bytes_per_parameter = 12;
  return bytes_per_parameter * need.parameters + history_bytes(need) + small_parts;
}

std::int64_t further_checkpoints(SpaceNeed const& need) {
  if (need.updates == 0) return 0;
  if (need.keep == 0) return 1;
  std::int64_t const saves = need.interval > 0 ? (need.updates + need.interval - 1) / need.interval : 1;
  return std::clamp(need.keep + 1 - need.existing, std::int64_t{1}, saves);
}

std::int64_t needed_bytes(SpaceNeed const& need) {
  return further_checkpoints(need) * checkpoint_bytes(need) + history_bytes(need);
}

void check_space(std::filesystem::path const& folder, SpaceNeed const& need) {
  struct statvfs space {};
  // A file system that does not tell its size is not asked further.
  if (::statvfs(folder.c_str(), &space) != 0 || space.f_blocks == 0) return;
  auto const free = static_cast<std::int64_t>(std::uint64_t{space.f_bavail} * space.f_frsize);
  std::int64_t const needed = needed_bytes(need);
  if (free >= needed) return;
  throw Error{
      ExitCode::io,
      fmt::format("{}: {} bytes are free, the run needs about {} ({} more checkpoint(s) of {} and dynamics.h5); "
                  "make room, lower checkpoint.keep, or choose another run.dir",
                  folder.string(), free, needed, further_checkpoints(need), checkpoint_bytes(need))};
}

}  // namespace jreg::train
