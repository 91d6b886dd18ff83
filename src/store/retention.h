#pragma once

#include <cstdint>
#include <filesystem>

namespace jreg::store {

/// Which checkpoints stay. Those of weights only always do; no rule counts or removes them.
struct Retention {
  Retention(std::int64_t newest = 0, std::int64_t every = 0, bool spaced = false)
      : keep{newest}, keep_every{every}, log_spaced{spaced} {}

  /// Whether a step's checkpoint is never removed.
  bool for_ever(std::int64_t step) const;

  std::int64_t keep;        // newest ones; 0: all
  std::int64_t keep_every;  // and for ever those of each multiple of this; 0: none
  bool log_spaced;          // and for ever those of the log-spaced steps
};

/// 0, 1, 2, 4 ... 512
bool is_log_spaced(std::int64_t step);

/// Removes the complete checkpoints before the `keep` newest up to `step`, and whatever is older than those, except
/// what stays for ever. Not collective, and without HDF5.
void purge(std::filesystem::path const& run_folder, std::int64_t step, Retention const& retention);

}  // namespace jreg::store
