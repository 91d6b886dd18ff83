#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "base/background.h"
#include "store/checkpoint.h"

namespace jreg::store {

/// A checkpoint on its way to the disk while the caller does other things:
///   beginning    all ranks   the folder with its temporary name, each rank's file laid out
///   writing      background  each rank fills, syncs and hashes its own file
///   advance()    all ranks   sizes and hashes gathered, index.h5 written
///   publishing   background  first rank: sync, manifest, rename, pointer, purge
///   advance()    all ranks   the report
/// The background threads use neither MPI nor HDF5 (which may be built without thread safety): plain files only, so
/// that the caller goes on using both.
/// An error of any rank, in the background or not, comes out of the next collective call on all ranks alike, as in
/// save(): the temporary folder is gone then and the older checkpoints are as they were.
class PendingSave {
public:
  /// Collective. What the slices point at must stay as it is until writing has ended: until the first advance().
  PendingSave(mpi::Communicator const& comm, std::filesystem::path run_folder, State state,
              std::span<SavedSlice const> slices, Retention const& retention);
  PendingSave(PendingSave const&) = delete;
  PendingSave& operator=(PendingSave const&) = delete;
  /// A save that is not finished is given up.
  ~PendingSave();

  /// Whether this rank's thread is at work; never waits.
  bool busy() const noexcept { return work_ && work_->busy(); }
  State const& state() const noexcept { return state_; }

  /// Collective. Goes on from where the background work ended; waits for it where it has not. `trajectory`: see save();
  /// rows after the state's step are left out. Gives the report when the checkpoint is complete; not to be called then.
  std::optional<SaveReport> advance(Trajectory const* trajectory);
  /// Collective. To the end.
  SaveReport finish(Trajectory const* trajectory);

private:
  enum class Phase { writing, publishing, done };
  void begin(std::span<SavedSlice const> slices);
  void join_parts(Trajectory const* trajectory);
  void publish(Manifest manifest, std::int64_t index_bytes);
  void remove_temporary() noexcept;

  mpi::Communicator const& comm_;
  std::filesystem::path run_folder_;
  State state_;
  Retention retention_;
  std::filesystem::path temporary_;
  Phase phase_ = Phase::writing;
  std::string slices_;              // of this rank, as JSON
  FileEntry part_;                  // this rank's file; set by its thread
  SaveReport report_;               // first rank; set by its thread
  std::optional<Background> work_;  // last: ends before what it works with
};

}  // namespace jreg::store
