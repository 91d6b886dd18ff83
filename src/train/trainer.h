#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "base/exit_code.h"
#include "config/config.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "mpi/communicator.h"
#include "store/checkpoint.h"
#include "store/dynamics.h"
#include "store/run_folder.h"
#include "train/batches.h"
#include "train/evaluation.h"
#include "train/profiled_steps.h"
#include "train/progress.h"
#include "train/saver.h"
#include "train/session.h"
#include "train/signals.h"
#include "train/slow_ranks.h"
#include "train/start.h"
#include "train/update.h"
#include "train/watchdog.h"

namespace jreg::train {

/// What the command line adds to the config.
struct TrainArguments {
  std::string config;
  std::string resume;
  std::string fork;
  std::string init;
  std::string allow_change;
  std::int64_t stop_at = -1;
  bool preflight = false;
  bool benchmark = false;
  std::int64_t benchmark_steps = 10;
  bool profile = false;
  std::string profile_steps;

  /// The step that a run of so many updates ends at.
  std::int64_t last_step(std::int64_t steps) const { return stop_at >= 0 ? std::min(stop_at, steps) : steps; }

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("config", config, Rule::any(), "INI file with the options below, [section] and key = value");
    visit("resume", resume, Rule::any(),
          "auto (newest checkpoint of run.dir, or from step 0 where there is none), a step, or a checkpoint folder");
    visit("fork", fork, Rule::any(),
          "run or checkpoint folder of another run to go on from as a new run in run.dir; all but the architecture may "
          "differ. With --resume auto: only where run.dir has no checkpoint yet");
    visit(
        "init", init, Rule::any(),
        "start step 0 with the weights of a checkpoint or run folder or of a folder of Hugging Face's (config.json and "
        "safetensors), with fresh moments; [model] must tell the same architecture. With --resume auto: only where "
        "run.dir has no checkpoint yet");
    visit("allow-change", allow_change, Rule::any(),
          "with --resume: keys, with commas, that may differ from the checkpoint's");
    visit("stop-at", stop_at, Rule::at_least(-1),
          "end early after this update, with a checkpoint (train.steps goes on fixing the schedule); -1: do not");
    visit(
        "preflight", preflight, Rule::is_flag(),
        "only check, in seconds and under the launch of the long job, that it can run: ranks, program and options, "
        "cores, memory, links, sums, run folder. A line a check names rank, host and what to change; exit code 0 good, "
        "2 something to change, 75 a rank, host or link is bad");
    visit("benchmark", benchmark, Rule::is_flag(),
          "time updates on synthetic tokens with and without JREG; reads and writes no file");
    visit("benchmark-steps", benchmark_steps, Rule::at_least(1), "updates of each kind that --benchmark times");
    visit("profile", profile, Rule::is_flag(),
          "with --benchmark: also the time of every operation against its floor at this machine's measured rates");
    visit(
        "profile-steps", profile_steps, Rule::any(),
        "first:last, with run.backend = cuda: the updates that a profiler records which was told to wait for them, as "
        "in nsys profile --capture-range=cudaProfilerApi jreg train ...");
  }
};

/// A training run: resume or begin, update, look, record, save, end.
class Trainer {
public:
  /// Collective over `world`. Errors that all ranks know of are AgreedErrors. A SignalWatch must live meanwhile.
  Trainer(config::Config const& config, TrainArguments const& arguments, mpi::Communicator const& world,
          backend::Backend& backend, Watchdog& watchdog);

  /// Trains to the end, to --stop-at, or to a signal.
  ExitCode run();

private:
  struct Files {  // opened on every rank
    data::Dataset train;
    std::unique_ptr<data::TokenStream> validation;  // may be absent

    /// What evaluations and probes look at.
    data::TokenStream const& held_out() const { return validation ? *validation : train.stream(0); }
  };
  static Files open_files(config::Config const& config, mpi::Communicator const& world);
  Start choose_start() const;
  void begin();
  std::string make_run_id() const;
  void resume_from_first_good(Start const& start);
  void resume_from(std::filesystem::path const& folder, bool fork);
  void open_records();
  void log_header() const;

  void record(std::int64_t step, UpdateResult const& result);
  void refuse_nonfinite(std::int64_t step, UpdateResult const& result);
  /// Evaluates and probes what is due at `step` and not yet recorded; false where a signal cut it short.
  bool look(std::int64_t step);
  ExitCode train_to_end();
  /// One update, recorded by a profiler where --profile-steps says so.
  UpdateResult update();
  void save(std::int64_t step, bool weights_only);
  /// Ends the save that is under way, if any.
  void complete_save();
  void complete_save_of_failed_run();
  ExitCode leave();
  std::int64_t last_step() const { return arguments_.last_step(config_.train.steps); }
  store::Trajectory const* saved_trajectory() const noexcept { return first_rank() ? &trajectory_ : nullptr; }
  bool first_rank() const noexcept { return mesh_.world().rank() == 0; }

  config::Config config_;
  TrainArguments arguments_;
  std::optional<ProfiledSteps> profiled_;
  Watchdog& watchdog_;
  Files files_;
  std::optional<store::RunFolder> folder_;  // first rank only
  backend::Backend& backend_;
  mesh::Mesh mesh_;
  TrainingSession session_;
  data::BatchPlan plan_;
  BatchFeeder feeder_;
  std::vector<std::string> hosts_;  // by rank
  Pace pace_;
  Updater updater_;
  Evaluator evaluator_;
  store::Trajectory trajectory_;                 // first rank only fills it
  std::optional<store::DynamicsFile> dynamics_;  // first rank only
  std::optional<Progress> progress_;
  CheckpointSaver saver_;
  std::string run_id_;
  store::Origin origin_;
  std::int64_t step_ = 0;  // updates done
  std::int64_t skipped_ = 0;
  std::int64_t saved_at_ = -1;
  std::int64_t validated_at_ = -1;  // steps of the last rows of /validation and /probe
  std::int64_t probed_at_ = -1;
};

}  // namespace jreg::train
