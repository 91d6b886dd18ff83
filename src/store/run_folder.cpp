#include "store/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t largest_lock_text = 4096;

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

/// The batch system's number of this job; "" outside of one.
std::string job_name() {
  for (char const* const variable : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"}) {
    if (char const* const value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  }
  return "";
}

/// Who wrote the lock file, as far as it can be read.
std::string holder_text(fs::path const& file) {
  auto const holder = nlohmann::json::parse(read_text(file, largest_lock_text), nullptr, false);
  if (!holder.is_object() || !holder.contains("host") || !holder["host"].is_string() || !holder.contains("pid") ||
      !holder["pid"].is_number_integer()) {
    return "another process";
  }
  std::string text =
      fmt::format("process {} on host {}", holder["pid"].get<std::int64_t>(), holder["host"].get<std::string>());
  if (holder.contains("job") && holder["job"].is_string() && holder["job"] != "") {
    text += fmt::format(", job {}", holder["job"].get<std::string>());
  }
  return text;
}

/// The lock file, held until the descriptor closes, whatever closes it.
Descriptor take_lock(fs::path const& folder) {
  fs::path const file = folder / "run.lock";
  Descriptor lock = open_descriptor(file, O_RDWR | O_CREAT, 0666);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      throw UserError("{}: is in use by {}; wait for its end or choose another run.dir", folder.string(),
                      holder_text(file));
    }
    // Some network file systems cannot lock; a run there is better than none.
    if (errno != ENOSYS && errno != ENOLCK && errno != EOPNOTSUPP) throw_errno("lock", file.string());
    log::warning("{}: this file system has no locks; see to it that no second run uses this folder", folder.string());
  }
  if (::ftruncate(lock.get(), 0) != 0) throw_errno("truncate", file.string());
  nlohmann::json const holder{{"host", host_name()}, {"pid", ::getpid()}, {"job", job_name()}};
  write_all(lock, holder.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", file);
  return lock;
}

/// log.jsonl, with an end of line behind what a killed run may have left of its last one.
Descriptor open_log(fs::path const& file) {
  Descriptor log = open_descriptor(file, O_RDWR | O_CREAT | O_APPEND, 0666);
  struct stat status {};
  if (::fstat(log.get(), &status) != 0) throw_errno("look at", file.string());
  char last = '\n';
  if (status.st_size > 0 && ::pread(log.get(), &last, 1, status.st_size - 1) != 1) throw_errno("read", file.string());
  if (last != '\n') write_all(log, "\n", file);
  return log;
}

}  // namespace

RunFolder::RunFolder(fs::path folder) : folder_{std::move(folder)} {
  make_folders(folder_ / "checkpoints");
  lock_ = take_lock(folder_);
  log_ = open_log(folder_ / "log.jsonl");
}

RunFolder::~RunFolder() {
  // The file itself stays: removing it would let two processes hold locks on two files of one name.
  if (lock_ && ::ftruncate(lock_.get(), 0) != 0) log::warning("cannot empty {}/run.lock", folder_.string());
}

void RunFolder::write_config(std::string const& text) const {
  replace_file(folder_ / "config.cfg", text);
}

void RunFolder::append_log(nlohmann::json const& object) {
  expect(object.is_object(), "a log line is an object");
  // One write for the whole line: readers never see half of it.
  write_all(log_, object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", folder_ / "log.jsonl");
}

}  // namespace jreg::store
