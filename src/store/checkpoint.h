#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "h5/file.h"
#include "mpi/communicator.h"
#include "store/dynamics.h"
#include "store/manifest.h"
#include "store/retention.h"
#include "store/tensor_source.h"
#include "store/trajectory.h"

// A checkpoint is a folder RUN/checkpoints/step_00001000:
//   rank_00000.h5 ...  each rank's slices; index.h5  every tensor whole (virtual datasets), state, trajectory;
//   manifest.json      sizes, hashes, slices and state: what loading goes by.
// A folder with such a name is complete: it is written under another name and renamed.
namespace jreg::store {

/// A rectangle of a tensor that one rank saves. The slices of all ranks together must cover each tensor exactly once:
/// what several ranks hold is passed by one of them, rows that only pad the vocabulary by none.
struct SavedSlice {
  std::string name;  // Hugging Face's
  TensorKind kind = TensorKind::weight;
  DType dtype = DType::f32;
  Shape shape;                 // of the whole tensor
  Rectangle part;              // of this slice; an empty one is left out
  void const* data = nullptr;  // host memory, row-major, part.rows() x part.columns()
};

struct SaveReport {
  std::filesystem::path folder;
  std::int64_t bytes = 0;  // of all files
};

/// Collective. Saves a checkpoint of state.step, points `latest` at it and then removes older ones as `retention`
/// tells; one of weights only does neither. `trajectory` is read on the first rank only and may be null elsewhere;
/// `state` must be equal on all. PendingSave does the same while training goes on. Where any rank fails, all ranks
/// throw an Error alike (exit code 74 for a full disk, with path, the system's text and the bytes needed), the
/// temporary folder is gone and the older checkpoints are as they were.
SaveReport save(mpi::Communicator const& comm, std::filesystem::path const& run_folder, State const& state,
                Trajectory const* trajectory, std::span<SavedSlice const> slices, Retention const& retention);

/// RUN/checkpoints/step_XXXXXXXX
std::filesystem::path checkpoint_folder(std::filesystem::path const& run_folder, std::int64_t step);

/// Folders RUN/checkpoints/step_* with their steps, the newest first; whole or not.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(std::filesystem::path const& run_folder);

/// Whether the folder's manifest and file sizes are valid; warns where they are not.
bool is_complete(std::filesystem::path const& folder);

/// Whether it is also one to resume from: not of weights only.
bool can_resume_from(std::filesystem::path const& folder);

/// The checkpoint `latest` points at, or, where that is missing or not complete, the newest folder whose manifest and
/// file sizes are valid; warns about those passed over, but for those of weights only. Not collective: one rank asks
/// and tells the others.
std::optional<std::filesystem::path> find_latest(std::filesystem::path const& run_folder);

/// find_latest(), then the older folders in which to look for a good one where that turns out to be damaged; without
/// those of weights only. Empty where there is none to resume from.
std::vector<std::filesystem::path> resumable_checkpoints(std::filesystem::path const& run_folder);

/// Reads manifest.json of a checkpoint folder. Throws UserError where there is no such folder, DataError where it has
/// no manifest or a damaged one, or where the folder's name tells another step.
Manifest read_manifest(std::filesystem::path const& folder);
/// Throws DataError naming the file unless it is there and has the manifest's size; or also the manifest's hash.
void check_size(std::filesystem::path const& folder, FileEntry const& file);
void check_hash(std::filesystem::path const& folder, FileEntry const& file);
/// Size and hash of a file of the folder as it is.
FileEntry describe_file(std::filesystem::path const& folder, std::string const& name);

/// Loads from a checkpoint folder, any rectangle of any tensor, whatever mesh wrote it. Not collective.
class CheckpointReader : public TensorSource {
public:
  /// Reads the manifest and checks all file sizes. Throws UserError where `folder` is no checkpoint, DataError naming
  /// the file where it is damaged.
  explicit CheckpointReader(std::filesystem::path folder);

  std::filesystem::path const& folder() const override { return folder_; }
  Manifest const& manifest() const { return manifest_; }
  State const& state() const { return manifest_.state; }

  TensorEntry const* find(TensorKind kind, std::string const& name) const override;
  /// A file's hash is checked before it is first opened.
  void read_slice(TensorKind kind, std::string const& name, Rectangle const& part, DType dtype, void* host) override;

  /// The history up to the step of this checkpoint (checks and reads index.h5).
  Trajectory trajectory();

private:
  h5::File const& open(std::string const& file);

  std::filesystem::path folder_;
  Manifest manifest_;
  std::map<std::pair<TensorKind, std::string>, std::size_t> places_;  // in manifest_.tensors
  std::set<std::string> checked_;                                     // files whose hash was right
  std::map<std::string, h5::File> open_files_;
};

}  // namespace jreg::store
