#pragma once

#include "train/batches.h"
#include "train/session.h"
#include "train/update.h"

namespace jreg::train {

/// A run on initial weights and random tokens, to be timed: no files, no records. Collective.
class SyntheticRun {
public:
  SyntheticRun(config::Config const& config, mpi::Communicator const& world, backend::Backend& backend);
  SyntheticRun(SyntheticRun const&) = delete;
  SyntheticRun& operator=(SyntheticRun const&) = delete;

  mesh::Mesh const& mesh() const noexcept { return mesh_; }
  TrainingSession& session() noexcept { return session_; }
  /// Updates with this penalty, or without statistics; the run must outlive it.
  Updater updater(config::JregConfig const& jreg, bool measure);

private:
  mesh::Mesh mesh_;
  TrainingSession session_;
  BatchFeeder feeder_;
};

/// The config's penalty; with a strength of its own where that has none, so that its cost shows.
config::JregConfig with_penalty(config::JregConfig jreg);

/// The longest of the ranks' seconds for an update. Collective.
double timed_update(SyntheticRun& run, Updater& updater, std::int64_t step);

}  // namespace jreg::train
