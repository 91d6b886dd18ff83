#pragma once

#include <chrono>
#include <optional>

#include "store/pending_save.h"
#include "train/checkpointing.h"
#include "train/progress.h"

namespace jreg::train {

/// Saves checkpoints, with checkpoint.async while training goes on: the state is copied to memory kept for that, files
/// are written behind training's back, and what is left to do together is done between updates. At most one save is
/// under way. Calls are collective except busy() and bytes(); errors are those of store::PendingSave.
class CheckpointSaver {
public:
  /// All arguments must outlive this.
  CheckpointSaver(config::Config const& config, mpi::Communicator const& world, TrainingSession const& session);

  /// Begins to save the session as it is, after ending the save before. Without checkpoint.async it is complete on
  /// return. `trajectory`: see store::save().
  void save(store::State state, store::Trajectory const* trajectory, Progress& progress);

  /// Whether this rank's background thread is at work.
  bool busy() const noexcept { return pending_ && pending_->busy(); }
  /// After an update before which no rank was busy: goes on with the save that is under way, if any.
  void advance(store::Trajectory const* trajectory, Progress& progress);
  /// Ends the save that is under way, if any.
  void finish(store::Trajectory const* trajectory, Progress& progress);

  /// Memory of the copy.
  std::size_t bytes() const noexcept { return snapshot_.bytes(); }

private:
  using Clock = std::chrono::steady_clock;
  void end(store::SaveReport const& report, Progress& progress);

  config::Config const& config_;
  mpi::Communicator const& world_;
  Snapshot snapshot_;
  std::optional<store::PendingSave> pending_;
  Clock::time_point begun_;
  Clock::duration blocked_{};  // how long training has waited for this save
};

}  // namespace jreg::train
