#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "store/checkpoint.h"
#include "store/run_folder.h"
#include "train/update.h"

namespace jreg::train {

/// What the first rank tells of a run: one key=value line per interval on standard output, the same as JSON in
/// log.jsonl, and a live line where standard output is a terminal.
class Progress {
public:
  struct Scale {
    std::int64_t tokens_per_update = 0;
    double flop_per_update = 0;  // of the whole model
    double gemm_rate = 0;        // all ranks together
    std::int64_t last_step = 0;  // updates that this process will have done at its end
    std::int64_t log_interval = 1;
  };

  /// `folder` may be null on ranks that print nothing.
  Progress(Scale const& scale, store::RunFolder* folder);

  /// After update `step` (counted from 1). Returns its tokens per second.
  double updated(std::int64_t step, UpdateResult const& result);
  /// Time since the last call that does not count as training (evaluation, checkpoints) begins and ends.
  void pause();
  void resume();

  void validation(std::int64_t step, double loss);
  /// `seconds` from its beginning until it was complete, `blocked` of which training waited.
  void checkpoint(std::int64_t step, store::SaveReport const& report, double seconds, double blocked);
  void event(nlohmann::json const& object);

private:
  using Clock = std::chrono::steady_clock;
  void print(std::string const& line);
  void live(std::int64_t step, UpdateResult const& result, double rate, double left);
  void line(std::int64_t step, UpdateResult const& result, double rate, double left);

  Scale scale_;
  store::RunFolder* folder_;
  bool terminal_;
  bool live_shown_ = false;
  Clock::time_point last_;  // end of the last update, moved on by pauses
  Clock::time_point paused_;
  std::int64_t interval_steps_ = 0;
  double interval_seconds_ = 0;
};

/// "1h02m", "3m05s", "12s"
std::string duration_text(double seconds);

}  // namespace jreg::train
