#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "store/files.h"
#include "store/run_lock.h"

namespace jreg::store {

/// A run's folder, held by one process (the first rank) for as long as this object lives:
/// config.cfg, log.jsonl, dynamics.h5, checkpoints/ and run.lock, which names the holder (RunLock).
class RunFolder {
public:
  /// Makes the folders where they are missing and takes the lock. Throws UserError naming the holder when another
  /// process has it; SystemError when the system refuses. A lock left by a process that ended, however it ended, is
  /// taken over (one of another host after a while).
  explicit RunFolder(std::filesystem::path folder);

  std::filesystem::path const& path() const { return folder_; }
  std::filesystem::path dynamics_file() const { return folder_ / "dynamics.h5"; }

  /// Throws UserError when another process has taken the folder over meanwhile.
  void require_held() const { lock_->require_held(); }

  /// Replaces config.cfg at once: readers see the old text or the new one.
  void write_config(std::string const& text) const;
  /// Appends one line to log.jsonl, there for readers on return; numbers that are not finite become null.
  void append_log(nlohmann::json const& object);

private:
  std::filesystem::path folder_;
  std::unique_ptr<RunLock> lock_;
  Descriptor log_;
};

}  // namespace jreg::store
