#pragma once

#include <vector>

#include "store/checkpoint.h"
#include "train/session.h"

namespace jreg::train {

/// Elements of this rank's share of a checkpoint, weights and moments.
std::size_t snapshot_elements(TrainingSession const& session);

/// Host memory for a copy of this rank's share of a checkpoint, used again for each copy.
class Snapshot {
public:
  explicit Snapshot(TrainingSession const& session);
  Snapshot(Snapshot const&) = delete;
  Snapshot& operator=(Snapshot const&) = delete;

  /// Copies the weights and, unless `weights_only`, the moments. The slices stay as they are until the next copy.
  std::span<store::SavedSlice const> take(bool weights_only);

  std::size_t bytes() const noexcept { return values_.size() * sizeof(float); }

private:
  TrainingSession const& session_;
  std::vector<params::RowPart> parts_;
  std::vector<float> values_;
  std::vector<store::SavedSlice> slices_;  // of all parts for each kind, weights first
};

/// Loads weights and moments of this rank's slices, whatever mesh wrote them. Throws DataError naming a tensor that is
/// missing or of another shape, UserError where the checkpoint is of weights only.
void restore(TrainingSession& session, store::CheckpointReader& reader);

/// The same with everything but the architecture free to change: for a fork.
void check_same_architecture(config::Config const& config, store::KeyValues const& stored);

/// Throws UserError listing the keys in which `config` differs from the checkpoint's and that change the mathematics.
/// Keys of mesh.*, log.*, eval.*, probe.*, checkpoint.*, run.dir, run.backend, run.step_deadline, run.drift_interval,
/// train.micro_batch and train.recompute change freely (and are logged); keys in `allowed` (--allow-change, with
/// commas) too, unless they are the architecture's.
void check_same_run(config::Config const& config, store::KeyValues const& stored, std::string const& allowed);

store::Retention retention_of(config::RecordConfig const& record);

/// All options with their values.
store::KeyValues key_values(config::Config config);

}  // namespace jreg::train
