#include "train/trainer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/random.h"
#include "config/parse.h"
#include "store/agree.h"
#include "train/checkpointing.h"
#include "train/disk_space.h"
#include "train/initial_weights.h"
#include "train/machine.h"
#include "train/replicas.h"

namespace jreg::train {
namespace {

std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> lines;
  std::istringstream stream{text};
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

char const* name_of(double not_finite) {
  return std::isnan(not_finite) ? "NaN" : "infinite";
}

bool due(std::int64_t step, std::int64_t interval, std::int64_t last) {
  return step == last || (interval > 0 && step % interval == 0);
}

/// Takes the lock on the run folder and refuses one that holds another run's checkpoints.
std::optional<store::RunFolder> take_run_folder(config::Config const& config, TrainArguments const& arguments,
                                                mpi::Communicator const& world) {
  std::optional<store::RunFolder> folder;
  store::agree_on_first(world, [&] {
    folder.emplace(config.run.dir);
    check_run_dir(config.run.dir, arguments.resume, !arguments.fork.empty() || !arguments.init.empty());
  });
  return folder;
}

}  // namespace

Trainer::Files Trainer::open_files(config::Config const& config, mpi::Communicator const& world) {
  std::optional<Files> files;
  store::agree(world, [&] {
    std::int64_t const length = config.train.sequence_length;
    files.emplace(Files{data::Dataset{config.data, length, config.run.seed}, nullptr});
    if (!config.data.validation.empty()) {
      files->validation = data::open_stream(config.data.validation, config.data, length);
    }
  });
  return std::move(*files);
}

Trainer::Trainer(config::Config const& config, TrainArguments const& arguments, mpi::Communicator const& world,
                 backend::Backend& backend, Watchdog& watchdog)
    : config_{config},
      arguments_{arguments},
      profiled_{profiled_steps(arguments.profile_steps)},
      watchdog_{watchdog},
      files_{open_files(config, world)},
      folder_{take_run_folder(config, arguments, world)},
      backend_{backend},
      mesh_{world, backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads, config.mesh.sequence_parallel},
      session_{config, backend, mesh_},
      plan_{config.train.global_batch, mesh_.at().data_size, mesh_.at().data, config.train.micro_batch},
      feeder_{
          backend, config.train.sequence_length, session_.micro_batch(), {config.data.document_mask, config.data.eos}},
      hosts_{world.all_gather(host_name())},
      pace_{mesh_, hosts_, config.record.log_interval},
      updater_{session_, config.jreg, true,
               [this](std::int64_t step, std::int64_t micro) {
                 watchdog_.mark(Phase::reading, step + 1);
                 model::MicroBatch const batch = feeder_.load(files_.train, plan_.first_sample(step, micro),
                                                              plan_.micro_batch(), config_.model.vocab);
                 watchdog_.mark(Phase::computing, step + 1);
                 return batch;
               },
               [this] {
                 pace_.computed();
                 watchdog_.mark(Phase::reduction, step_ + 1);
               }},
      evaluator_{session_, feeder_, files_.held_out(),
                 data::Windows{files_.held_out().tokens(), config.train.sequence_length},
                 [this] {
                   watchdog_.mark();
                   return SignalWatch::raised_anywhere(mesh_.world());
                 }},
      trajectory_{config.model.layers},
      saver_{config_, mesh_.world(), session_} {
  Start const start = choose_start();
  if (start.checkpoints.empty()) {
    begin();
  } else {
    resume_from_first_good(start);
  }
  open_records();
}

Start Trainer::choose_start() const {
  std::string chosen;  // a folder a line, after a line that tells whether they are another run's
  store::agree_on_first(mesh_.world(), [&] {
    Start const start = train::choose_start(config_.run.dir, arguments_.resume, arguments_.fork);
    chosen = start.fork ? "fork" : "own";
    for (std::filesystem::path const& folder : start.checkpoints) chosen += "\n" + folder.string();
  });
  mesh_.world().broadcast(chosen, 0);
  std::vector<std::string> const lines = lines_of(chosen);
  return {{lines.begin() + 1, lines.end()}, lines.front() == "fork"};
}

void Trainer::resume_from_first_good(Start const& start) {
  for (std::size_t i = 0;; ++i) {
    try {
      return resume_from(start.checkpoints[i], start.fork);
    } catch (Error const& error) {  // the same on every rank
      bool const damaged = error.code() == ExitCode::data;
      if (!damaged || i + 1 == start.checkpoints.size()) throw;
      if (first_rank()) log::warning("{}; trying {}", error.what(), start.checkpoints[i + 1].string());
    }
  }
}

std::string Trainer::make_run_id() const {
  std::string id =
      fmt::format("{:016x}", stable_hash(fmt::format("{} {} {}", host_name(), getpid(),
                                                     std::chrono::system_clock::now().time_since_epoch().count())));
  mesh_.world().broadcast(id, 0);
  return id;
}

void Trainer::begin() {
  run_id_ = make_run_id();
  if (arguments_.init.empty()) {
    session_.initialise();
  } else {
    store::agree(mesh_.world(), [&] { load_initial_weights(session_, arguments_.init); });
    origin_.initial_weights = std::filesystem::absolute(arguments_.init).lexically_normal().string();
  }
}

void Trainer::resume_from(std::filesystem::path const& folder, bool fork) {
  store::agree(mesh_.world(), [&] {
    store::CheckpointReader reader{folder};
    store::State const& state = reader.state();
    if (fork) {
      check_same_architecture(config_, state.config);
    } else {
      check_same_run(config_, state.config, arguments_.allow_change);
    }
    restore(session_, reader);
    session_.adamw().set_updates(state.adamw_steps);
    updater_.penalty().set_gates({state.jump_gates.begin(), state.jump_gates.end()});
    step_ = state.step;
    skipped_ = state.skipped_updates;
    run_id_ = state.run_id;
    origin_ = state.origin;
    if (first_rank()) {
      trajectory_ = reader.trajectory();
      validated_at_ = trajectory_.validation().last_step();
      probed_at_ = trajectory_.probe().last_step();
    }
  });
  mesh_.world().max(std::span{&validated_at_, 1});
  mesh_.world().max(std::span{&probed_at_, 1});
  if (fork) {
    origin_.parent_run_id = run_id_;
    run_id_ = make_run_id();
  } else {
    saved_at_ = step_;
  }
  log::info("{} at step {} from {}", fork ? "forked" : "resumed", step_, folder.string());
}

void Trainer::open_records() {
  watchdog_.mark(Phase::start_up, step_);
  double rate = measured_gemm_rate(backend_, session_.store().dtype());
  mesh_.world().sum(std::span{&rate, 1});
  std::set<std::string> const hosts{hosts_.begin(), hosts_.end()};
  store::agree_on_first(mesh_.world(), [&] {
    check_space(config_.run.dir, need_of(config_, session_.store().registry().global_size(), step_, last_step()));
    folder_->write_config(config::ini_text(config::options_of(config_)));
    dynamics_.emplace(folder_->dynamics_file(),
                      store::DynamicsHeader{key_values(config_), {hosts.begin(), hosts.end()}, utc_now(), origin_},
                      trajectory_);
  });
  progress_.emplace(Progress::Scale{.tokens_per_update = session_.tokens_per_update(),
                                    .flop_per_update = model_flop(config_),
                                    .gemm_rate = rate,
                                    .last_step = last_step(),
                                    .log_interval = config_.record.log_interval},
                    folder_ ? &*folder_ : nullptr);
  log_header();
  log::info("matrix product rate of all ranks: {:.1f} GFLOP/s", rate / 1e9);
}

ExitCode Trainer::run() {
  try {
    return train_to_end();
  } catch (Error const& error) {
    // Where all ranks know of the error they end a save that is under way together.
    bool const agreed = mesh_.world().size() == 1 || dynamic_cast<AgreedError const*>(&error) != nullptr;
    if (agreed) {
      session_.adamw().gather().finish();
      complete_save_of_failed_run();
    }
    throw;
  }
}

ExitCode Trainer::train_to_end() {
  std::int64_t const end = last_step();
  // What a signal cut short before the checkpoint that this run resumes from is made up for first.
  bool const resumed = saved_at_ == step_;
  bool const looked_at_start = (step_ >= end && !resumed) || look(step_);
  if (!looked_at_start || (step_ < end && SignalWatch::raised_anywhere(mesh_.world()))) return leave();
  if (step_ >= end) {
    if (resumed && saved_at_ != step_) save(step_, false);
    complete_save();
    if (dynamics_) dynamics_->close();
    log::info("nothing to do: the run is at step {} of {}", step_, end);
    return ExitCode::done;
  }
  if (step_ == 0 && config_.record.checkpoint_log_spaced) save(0, true);
  while (step_ < end) {
    pace_.begin();
    UpdateResult const result = update();
    ++step_;
    if (!result.applied) refuse_nonfinite(step_, result);
    if (!result.busy) saver_.advance(saved_trajectory(), *progress_);
    record(step_, result);
    if (due(step_, config_.run.drift_interval, -1)) check_replicas(session_, hosts_, step_);
    bool const looked = look(step_);
    bool const last = step_ == end;
    bool asked = result.flagged || !looked;
    if (last || asked || due(step_, config_.record.checkpoint_interval, end)) {
      save(step_, false);
      asked = asked || SignalWatch::raised_anywhere(mesh_.world());  // while it was saved
    } else if (config_.record.checkpoint_log_spaced && store::is_log_spaced(step_)) {
      save(step_, true);
    }
    if (!looked || (asked && !last)) return leave();
  }
  complete_save();
  if (dynamics_) dynamics_->close();
  log::info("done: step {} of {}", step_, config_.train.steps);
  watchdog_.mark(Phase::ending, step_);
  return ExitCode::done;
}

UpdateResult Trainer::update() {
  if (profiled_ && profiled_->first == step_ + 1) backend_.record_profile(true);
  UpdateResult result = updater_.update(step_, SignalWatch::raised(), saver_.busy());
  if (profiled_ && profiled_->last == step_ + 1) backend_.record_profile(false);
  return result;
}

void Trainer::complete_save() {
  watchdog_.mark(Phase::checkpoint, step_);
  saver_.finish(saved_trajectory(), *progress_);
}

void Trainer::complete_save_of_failed_run() {
  try {
    complete_save();
  } catch (Error const& error) {
    log::warning("{}", error.what());
  }
}

ExitCode Trainer::leave() {
  save(step_, false);
  complete_save();
  SignalWatch::ignore_more();
  log::info("asked to end by a signal: checkpoint of step {} is complete; start again with --resume auto", step_);
  if (dynamics_) dynamics_->close();
  watchdog_.mark(Phase::ending, step_);
  return ExitCode::signalled;
}

void Trainer::refuse_nonfinite(std::int64_t step, UpdateResult const& result) {
  std::string const where =
      result.bad_data_rank >= 0
          ? fmt::format("the loss is {} on rank {}", name_of(result.loss),
                        result.bad_data_rank * mesh_.at().tensor_size)
          : fmt::format("the gradient norm is {}; the losses of all ranks are finite", name_of(result.grad_norm));
  if (config_.train.on_nonfinite == "stop") {
    throw AgreedError{ExitCode::internal,
                      fmt::format("update {}: {}; nothing was changed by it, the last checkpoint is good. Lower "
                                  "optim.learning_rate, or set train.on_nonfinite = skip",
                                  step, where)};
  }
  ++skipped_;
  if (first_rank()) log::warning("update {} skipped: {} ({} skipped so far)", step, where, skipped_);
}

void Trainer::record(std::int64_t step, UpdateResult const& result) {
  double const rate = progress_->updated(step, result);
  pace_.updated(step);
  if (!first_rank()) return;
  folder_->require_held();
  store::TrainRow const row{.step = step,
                            .tokens = step * session_.tokens_per_update(),
                            .loss = result.loss,
                            .jreg = result.jreg,
                            .jreg_lambda = result.jreg_lambda,
                            .learning_rate = result.learning_rate,
                            .grad_norm = result.grad_norm,
                            .tokens_per_second = rate,
                            .displacement = result.jump.displacement,
                            .jump_rate = result.jump.jump_rate,
                            .hidden_norm = result.jump.hidden_norm};
  trajectory_.append(row);
  dynamics_->append(row);
}

bool Trainer::look(std::int64_t step) {
  config::RecordConfig const& interval = config_.record;
  bool const validate =
      files_.validation && step > 0 && step > validated_at_ && due(step, interval.eval_interval, config_.train.steps);
  bool const probe = step > probed_at_ && probe_is_due(step, interval.probe_interval, config_.train.steps);
  if (!validate && !probe) return true;
  progress_->pause();
  bool complete = true;
  if (validate) {
    watchdog_.mark(Phase::evaluation, step);
    std::optional<double> const loss = evaluator_.loss(interval.eval_batches * config_.train.global_batch);
    complete = loss.has_value();
    if (complete) {
      validated_at_ = step;
      saved_at_ = -1;  // a checkpoint of this step lacks this row
      progress_->validation(step, *loss);
      if (first_rank()) {
        trajectory_.append(store::ValidationRow{step, *loss});
        dynamics_->append(store::ValidationRow{step, *loss});
      }
    }
  }
  if (probe && complete) {
    watchdog_.mark(Phase::probe, step);
    std::optional<store::ProbeRow> const row = evaluator_.probe(step, interval.probe_sequences);
    complete = row.has_value();
    if (complete) {
      probed_at_ = step;
      saved_at_ = -1;
      if (first_rank()) {
        trajectory_.append(*row);
        dynamics_->append(*row);
      }
    }
  }
  progress_->resume();
  return complete;
}

void Trainer::save(std::int64_t step, bool weights_only) {
  if (saved_at_ == step) return;
  watchdog_.mark(Phase::checkpoint, step);
  if (config_.run.drift_interval > 0) check_replicas(session_, hosts_, step);
  auto const& gates = updater_.penalty().gates();
  store::State state{.step = step,
                     .tokens = step * session_.tokens_per_update(),
                     .sampler_position = step * config_.train.global_batch,
                     .adamw_steps = session_.adamw().updates(),
                     .skipped_updates = skipped_,
                     .jump_gates = {gates.begin(), gates.end()},
                     .layers = config_.model.layers,
                     .data_ranks = mesh_.at().data_size,
                     .tensor_ranks = mesh_.at().tensor_size,
                     .zero1 = config_.mesh.zero1,
                     .run_id = run_id_,
                     .origin = origin_,
                     .weights_only = weights_only,
                     .config = key_values(config_)};
  saver_.save(std::move(state), saved_trajectory(), *progress_);
  // One of weights only does not stand in for a whole one of the same step.
  if (!weights_only) saved_at_ = step;
}

}  // namespace jreg::train
