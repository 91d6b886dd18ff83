#include "train/preflight_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/host.h"
#include "base/random.h"
#include "model/parameters.h"
#include "store/files.h"
#include "train/checkpointing.h"
#include "train/disk_space.h"
#include "train/initial_weights.h"

namespace jreg::train::preflight {
namespace fs = std::filesystem;
namespace {

/// A folder, made with those above it where they are missing; those made here go at the end while they are empty.
class BorrowedFolder {
public:
  explicit BorrowedFolder(fs::path const& folder) {
    std::error_code error;
    for (fs::path missing = fs::absolute(folder); !missing.empty() && !fs::exists(missing, error);
         missing = missing.parent_path()) {
      made_.push_back(missing);
      if (missing == missing.parent_path()) break;
    }
    store::make_folders(folder);
  }
  BorrowedFolder(BorrowedFolder const&) = delete;
  BorrowedFolder& operator=(BorrowedFolder const&) = delete;
  ~BorrowedFolder() {
    for (fs::path const& folder : made_) ::rmdir(folder.c_str());
  }

private:
  std::vector<fs::path> made_;  // the innermost first
};

/// A file that is removed at the end.
class TemporaryFile {
public:
  TemporaryFile(fs::path file, std::string_view text) : file_{std::move(file)} {
    store::Descriptor const open = store::open_descriptor(file_, O_WRONLY | O_CREAT | O_EXCL, 0666);
    try {
      store::write_all(open, text, file_);
      if (::fsync(open.get()) != 0) throw_errno("fsync", file_.string());
    } catch (...) {
      ::unlink(file_.c_str());
      throw;
    }
  }
  TemporaryFile(TemporaryFile const&) = delete;
  TemporaryFile& operator=(TemporaryFile const&) = delete;
  ~TemporaryFile() { ::unlink(file_.c_str()); }

private:
  fs::path file_;
};

/// The step that the run would go on from; refuses what resuming, or beginning with given weights, would refuse.
std::int64_t first_step(config::Config const& config, TrainArguments const& arguments) {
  Start const start = choose_start(config.run.dir, arguments.resume, arguments.fork);
  if (start.checkpoints.empty()) {
    if (!arguments.init.empty()) check_initial_model(config.model, arguments.init);
    return 0;
  }
  store::State const state = store::read_manifest(start.checkpoints.front()).state;
  if (start.fork) {
    check_same_architecture(config, state.config);
  } else {
    check_same_run(config, state.config, arguments.allow_change);
  }
  return state.step;
}

void check_run(config::Config const& config, TrainArguments const& arguments) {
  store::RunLock::require_free(config.run.dir);
  check_run_dir(config.run.dir, arguments.resume, !arguments.fork.empty() || !arguments.init.empty());
  std::int64_t const parameters = model::declare_parameters(config.model, {}, false).registry.global_size();
  std::int64_t const step = first_step(config, arguments);
  check_space(config.run.dir, need_of(config, parameters, step, arguments.last_step(config.train.steps)));
}

/// What a call of `action` fails with; empty where it does not.
template <class Action> std::string failure_of(Action&& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return {};
}

/// Waits a little for the file: network file systems show others' files late.
std::string look_for(fs::path const& file, std::string const& text) {
  constexpr std::chrono::milliseconds pause{50};
  constexpr int attempts = 60;
  std::string failure;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    std::string seen;
    failure = failure_of([&] { seen = store::read_text(file, 4096); });
    if (failure.empty() && seen == text) return {};
    std::this_thread::sleep_for(pause);
  }
  return failure.empty() ? fmt::format("{}: holds another text than the first rank wrote", file.string()) : failure;
}

/// One finding for each text that ranks failed with.
void add_failures(std::vector<std::string> const& failures, std::span<std::string const> hosts, Check& check) {
  std::map<std::string, std::vector<int>> ranks;
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    if (!failures[rank].empty()) ranks[failures[rank]].push_back(static_cast<int>(rank));
  }
  for (auto const& [text, where] : ranks) check.change(fmt::format("{}: {}", ranks_text(where, hosts), text));
}

}  // namespace

Check check_folder(config::Config const& config, TrainArguments const& arguments, mpi::Communicator const& world,
                   std::span<std::string const> hosts) {
  fs::path const folder = config.run.dir;
  Check check{.name = "run folder", .good = fmt::format("{} is free, the same folder on every rank", folder.string())};
  std::optional<BorrowedFolder> borrowed;
  std::optional<TemporaryFile> token;
  auto const ticks = std::chrono::system_clock::now().time_since_epoch().count();
  std::string text = fmt::format("{:016x}", stable_hash(fmt::format("{} {} {}", host_name(), ::getpid(), ticks)));
  world.broadcast(text, 0);
  fs::path const file = folder / (".preflight-" + text);

  std::string failure;
  if (world.rank() == 0) {
    failure = failure_of([&] {
      borrowed.emplace(folder);
      token.emplace(file, text);
    });
    // The lock, checkpoints and space say nothing of a folder that is not there.
    if (failure.empty()) {
      std::string const refused = failure_of([&] { check_run(config, arguments); });
      if (!refused.empty()) check.change(refused);
    }
  }
  bool const made = world.all_gather(failure).front().empty();
  if (made) {
    failure = look_for(file, text);
    if (!failure.empty()) {
      failure = fmt::format("see another folder than rank 0 at run.dir = {}; mount the same one on every host ({})",
                            folder.string(), failure);
    } else {
      std::string const own = fmt::format("{}-{}", file.string(), world.rank());
      failure = failure_of([&] { TemporaryFile const written{own, text}; });
      // Ranks that fail alike are to say the same.
      if (auto const at = failure.find(own); at != std::string::npos) failure.replace(at, own.size(), folder.string());
    }
  } else if (!failure.empty()) {
    failure += "; choose another run.dir, or make it one that this user may write to";
  }
  std::vector<std::string> const failures = world.all_gather(failure);
  // What the first rank found is to stand in the report of every rank.
  std::string refused = check.findings.empty() ? std::string{} : check.findings.front().text;
  world.broadcast(refused, 0);
  check.findings.clear();
  if (!refused.empty()) check.change(refused);
  add_failures(failures, hosts, check);
  return check;
}

}  // namespace jreg::train::preflight
