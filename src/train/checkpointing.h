#pragma once

#include <vector>

#include "store/checkpoint.h"
#include "train/session.h"

namespace jreg::train {

/// Rectangle of the whole tensor that a part is, without the rows that only pad the vocabulary.
store::Rectangle rectangle_of(params::Parameter const& parameter, std::int64_t row_begin, std::int64_t row_end);
store::Shape shape_of(params::Parameter const& parameter);

/// This rank's share of a checkpoint, copied to host memory: the slices point into `values`, which moves with them.
struct HostSnapshot {
  std::vector<float> values;
  std::vector<store::SavedSlice> slices;
};
HostSnapshot snapshot(TrainingSession const& session);

/// Loads weights and moments of this rank's slices, whatever mesh wrote them. Throws DataError naming a tensor that is
/// missing or of another shape.
void restore(TrainingSession& session, store::CheckpointReader& reader);

/// Throws UserError listing the keys in which `config` differs from the checkpoint's and that change the mathematics.
/// Keys of mesh.*, log.*, eval.*, probe.*, checkpoint.*, run.dir, run.backend and train.micro_batch change freely (and
/// are logged); keys in `allowed` too, unless they are the architecture's.
void check_same_run(config::Config const& config, store::KeyValues const& stored,
                    std::vector<std::string> const& allowed);

/// All options with their values.
store::KeyValues key_values(config::Config config);

}  // namespace jreg::train
