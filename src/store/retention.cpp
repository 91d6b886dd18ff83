#include "store/retention.h"

#include <bit>

#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

bool holds_weights_only(fs::path const& folder) {
  try {
    return read_manifest(folder).state.weights_only;
  } catch (Error const&) {
    return false;
  }
}

void remove_folder(fs::path const& folder) {
  fs::path const trash = folder.parent_path() / (".trash-" + folder.filename().string());
  std::error_code error;
  // Renamed first: a folder that is half removed must not look complete.
  fs::rename(folder, trash, error);
  if (!error) fs::remove_all(trash, error);
  if (error) log::warning("cannot remove the old checkpoint {}: {}", folder.string(), error.message());
}

}  // namespace

bool Retention::for_ever(std::int64_t step) const {
  return (keep_every > 0 && step % keep_every == 0) || (log_spaced && is_log_spaced(step));
}

bool is_log_spaced(std::int64_t step) {
  constexpr std::int64_t last = 512;
  return step == 0 || (step > 0 && step <= last && std::has_single_bit(static_cast<std::uint64_t>(step)));
}

void purge(fs::path const& run_folder, std::int64_t step, Retention const& retention) {
  if (retention.keep == 0) return;
  std::int64_t kept = 0;
  for (auto const& [at, folder] : list_checkpoints(run_folder)) {
    // Later steps are of a run that this one went back behind; they are the user's to remove.
    if (at > step) continue;
    if (kept < retention.keep) {
      if (at == step || can_resume_from(folder)) ++kept;
    } else if (!retention.for_ever(at) && !holds_weights_only(folder)) {
      remove_folder(folder);
    }
  }
}

}  // namespace jreg::store
