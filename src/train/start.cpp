#include "train/start.h"

#include <algorithm>

#include "base/error.h"
#include "store/checkpoint.h"

namespace jreg::train {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> checkpoints_to_fork(fs::path const& source) {
  std::error_code error;
  if (!fs::is_directory(source, error)) throw UserError("--fork {}: there is no such folder", source.string());
  if (!fs::is_directory(source / "checkpoints", error)) return {source};
  std::vector<fs::path> checkpoints = store::resumable_checkpoints(source);
  if (checkpoints.empty()) throw UserError("--fork {}: the run has no checkpoint to go on from", source.string());
  return checkpoints;
}

}  // namespace

void check_start_options(std::string const& resume, std::string const& fork, std::string const& init) {
  if (!fork.empty() && !init.empty()) throw UserError("--fork {} and --init {}: give one of them", fork, init);
  if (resume.empty() || resume == "auto") return;
  if (!fork.empty()) {
    throw UserError("--resume {} and --fork {}: give one of them, or --resume auto to fork only once", resume, fork);
  }
  if (!init.empty()) {
    throw UserError("--resume {} and --init {}: give one of them, or --resume auto to begin so only once", resume,
                    init);
  }
}

void check_run_dir(std::string const& run_dir, std::string const& resume, bool from_elsewhere) {
  if (!resume.empty() || store::list_checkpoints(run_dir).empty()) return;
  throw UserError("run.dir = {}: holds checkpoints already; give {}--resume auto to go on, or another run.dir", run_dir,
                  from_elsewhere ? "also " : "");
}

Start choose_start(std::string const& run_dir, std::string const& resume, std::string const& fork) {
  if (resume.empty() || resume == "auto") {
    std::vector<fs::path> own = resume.empty() ? std::vector<fs::path>{} : store::resumable_checkpoints(run_dir);
    if (!own.empty() || fork.empty()) return {std::move(own), false};
    return {checkpoints_to_fork(fork), true};
  }
  bool const number = std::ranges::all_of(resume, [](char c) { return c >= '0' && c <= '9'; });
  return {{number ? store::checkpoint_folder(run_dir, std::stoll(resume)) : fs::path{resume}}, false};
}

}  // namespace jreg::train
