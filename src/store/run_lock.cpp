#include "store/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/quiet_thread.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t largest_lock_text = 4096;

std::int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string job_name() {
  for (char const* const variable : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"}) {
    if (char const* const value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  }
  return "";
}

/// Who wrote the lock file; none where that cannot be read.
std::optional<LockHolder> read_holder(fs::path const& file) {
  auto const object = nlohmann::json::parse(read_text(file, largest_lock_text), nullptr, false);
  auto const number = [&](char const* key) {
    return object.contains(key) && object[key].is_number_integer() ? object[key].get<std::int64_t>() : 0;
  };
  auto const text = [&](char const* key) {
    return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : std::string{};
  };
  if (!object.is_object() || text("host").empty() || number("pid") == 0) return std::nullopt;
  return LockHolder{text("host"), number("pid"), text("job"), number("heartbeat")};
}

std::string age_text(LockHolder const& holder, std::int64_t now) {
  if (holder.heartbeat == 0) return "without a heartbeat";
  return fmt::format("whose last heartbeat is {} s old", std::max<std::int64_t>(0, now - holder.heartbeat));
}

[[noreturn]] void refuse(fs::path const& file, std::optional<LockHolder> const& holder, std::int64_t now) {
  std::string const folder = file.parent_path().string();
  if (!holder) {
    throw UserError("{}: is in use by another process; wait for its end or choose another run.dir", folder);
  }
  throw UserError(
      "{}: is in use by {}, {}; wait for its end ({} s after the last heartbeat of one on another host) or choose "
      "another run.dir",
      folder, holder->text(), age_text(*holder, now), RunLock::stale_after.count());
}

/// Whether the file at the path is the one that is open here, and not one put in its place.
bool is_at_its_path(Descriptor const& lock, fs::path const& file) {
  struct stat open {};
  struct stat named {};
  return ::fstat(lock.get(), &open) == 0 && ::stat(file.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

/// True when the lock is ours now; false when another process has it.
bool try_lock(Descriptor const& lock, fs::path const& file) {
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  // Some network file systems cannot lock; a run there is better than none.
  if (errno != ENOSYS && errno != ENOLCK && errno != EOPNOTSUPP) throw_errno("lock", file.string());
  log::warning("{}: this file system has no locks; see to it that no second run on this host uses the folder",
               file.string());
  return true;
}

/// What the lock file tells to `self`; refuses where another holds it. `locked`: whether flock gave it to this process.
LockClaim claim_of(fs::path const& file, bool locked, std::optional<LockHolder> const& holder, LockHolder const& self,
                   std::int64_t now) {
  LockClaim const claim = holder ? judge(*holder, self, now) : (locked ? LockClaim::free : LockClaim::held);
  // A lock that is taken on this host belongs to a living process.
  bool const alive_here = !locked && holder && holder->host == self.host;
  if (alive_here || claim == LockClaim::held) refuse(file, holder, now);
  return claim;
}

/// The lock file, held until the descriptor closes, whatever closes it.
Descriptor take(fs::path const& file, LockHolder const& self) {
  constexpr int attempts = 10;  // others may put a new file in its place at the same time
  for (int attempt = 0; attempt < attempts; ++attempt) {
    Descriptor lock = open_descriptor(file, O_RDWR | O_CREAT, 0666);
    bool const locked = try_lock(lock, file);
    if (!is_at_its_path(lock, file)) continue;
    std::optional<LockHolder> const holder = read_holder(file);
    std::int64_t const now = now_seconds();
    LockClaim const claim = claim_of(file, locked, holder, self, now);
    if (claim == LockClaim::stale || claim == LockClaim::same_job) {
      log::warning("{}: taken over from {}, {}", file.string(), holder->text(), age_text(*holder, now));
    }
    if (locked) return lock;
    // The other host's lock stays on the old file.
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) throw_errno("remove", file.string());
  }
  throw SystemError{fmt::format("{}: several processes want this lock at once", file.string())};
}

}  // namespace

LockHolder LockHolder::self() {
  return {host_name(), ::getpid(), job_name(), 0};
}

std::string LockHolder::text() const {
  return fmt::format("process {} on host {}{}", pid, host, job.empty() ? "" : ", job " + job);
}

bool LockHolder::same_process(LockHolder const& other) const {
  return host == other.host && pid == other.pid && job == other.job;
}

LockClaim judge(LockHolder const& holder, LockHolder const& self, std::int64_t now) {
  // On this host flock tells whether the holder lives.
  if (holder.host == self.host) return LockClaim::free;
  if (!self.job.empty() && holder.job == self.job) return LockClaim::same_job;
  return now - holder.heartbeat > RunLock::stale_after.count() ? LockClaim::stale : LockClaim::held;
}

RunLock::RunLock(fs::path const& folder, std::chrono::milliseconds interval)
    : file_{folder / "run.lock"}, self_{LockHolder::self()}, lock_{take(file_, self_)} {
  write(now_seconds());
  heartbeat_ = quiet_thread([this, interval](std::stop_token const& stop) { renew(stop, interval); });
}

RunLock::~RunLock() {
  heartbeat_.request_stop();
  heartbeat_.join();
  // The file itself stays: removing it would let two processes hold locks on two files of one name.
  if (!lost_ && ::ftruncate(lock_.get(), 0) != 0) log::warning("cannot empty {}", file_.string());
}

void RunLock::require_free(fs::path const& folder) {
  fs::path const file = folder / "run.lock";
  if (std::error_code error; !fs::exists(file, error)) return;
  Descriptor const lock = open_descriptor(file, O_RDWR);
  bool const locked = try_lock(lock, file);
  claim_of(file, locked, read_holder(file), LockHolder::self(), now_seconds());
}

void RunLock::require_held() const {
  if (lost_) {
    throw UserError("{}: another process has taken this run folder over, this one ends", file_.parent_path().string());
  }
}

void RunLock::write(std::int64_t now) {
  nlohmann::json const holder{{"host", self_.host}, {"pid", self_.pid}, {"job", self_.job}, {"heartbeat", now}};
  std::string const text = holder.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  // A text that never grows shorter, in one write where the system takes it whole: readers see the old or the new one.
  write_at(lock_, 0, std::as_bytes(std::span{text}), file_);
  if (::ftruncate(lock_.get(), static_cast<off_t>(text.size())) != 0) throw_errno("truncate", file_.string());
}

void RunLock::renew(std::stop_token const& stop, std::chrono::milliseconds interval) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock{mutex};
  bool warned = false;
  while (!wake.wait_for(lock, stop, interval, [&] { return stop.stop_requested(); })) {
    try {
      std::optional<LockHolder> const holder = read_holder(file_);
      if (holder && !holder->same_process(self_)) {
        lost_ = true;
        return;
      }
      write(now_seconds());
    } catch (std::exception const& error) {
      if (!warned) log::warning("heartbeat of the run folder: {}", error.what());
      warned = true;
    }
  }
}

}  // namespace jreg::store
