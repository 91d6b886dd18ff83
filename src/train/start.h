#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace jreg::train {

/// Where a run begins: at the first good one of these checkpoints, or at step 0 where there is none.
struct Start {
  std::vector<std::filesystem::path> checkpoints;
  bool fork = false;  // they are another run's
};

/// Throws UserError where --resume, --fork and --init contradict each other.
void check_start_options(std::string const& resume, std::string const& fork, std::string const& init);

/// Throws UserError where `run_dir` holds checkpoints that the options do not go on from. `from_elsewhere`: the run is
/// to begin with what --fork or --init name.
void check_run_dir(std::string const& run_dir, std::string const& resume, bool from_elsewhere);

/// `resume`: auto, a step, a checkpoint folder, or empty. `fork`: a run or checkpoint folder, or empty; with resume =
/// auto it counts only where the run has no checkpoint of its own. Not collective. Throws UserError where there is
/// nothing to fork from.
Start choose_start(std::string const& run_dir, std::string const& resume, std::string const& fork);

}  // namespace jreg::train
