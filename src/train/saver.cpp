#include "train/saver.h"

namespace jreg::train {

CheckpointSaver::CheckpointSaver(config::Config const& config, mpi::Communicator const& world,
                                 TrainingSession const& session)
    : config_{config}, world_{world}, snapshot_{session} {}

void CheckpointSaver::save(store::State state, store::Trajectory const* trajectory, Progress& progress) {
  finish(trajectory, progress);
  progress.pause();
  begun_ = Clock::now();
  config::RecordConfig const& record = config_.record;
  auto const slices = snapshot_.take(state.weights_only);
  pending_.emplace(world_, config_.run.dir, std::move(state), slices, retention_of(record));
  blocked_ = Clock::now() - begun_;
  progress.resume();
  if (!record.checkpoint_async) finish(trajectory, progress);
}

void CheckpointSaver::advance(store::Trajectory const* trajectory, Progress& progress) {
  if (!pending_) return;
  progress.pause();
  auto const since = Clock::now();
  try {
    auto const report = pending_->advance(trajectory);
    blocked_ += Clock::now() - since;
    if (report) end(*report, progress);
  } catch (...) {
    pending_.reset();
    throw;
  }
  progress.resume();
}

void CheckpointSaver::finish(store::Trajectory const* trajectory, Progress& progress) {
  while (pending_) advance(trajectory, progress);
}

void CheckpointSaver::end(store::SaveReport const& report, Progress& progress) {
  auto const seconds = [](Clock::duration duration) { return std::chrono::duration<double>(duration).count(); };
  progress.checkpoint(pending_->state().step, report, seconds(Clock::now() - begun_), seconds(blocked_));
  pending_.reset();
}

}  // namespace jreg::train
