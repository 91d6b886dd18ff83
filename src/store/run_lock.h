#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <thread>

#include "store/files.h"

namespace jreg::store {

/// Who has a run folder: the content of its run.lock.
struct LockHolder {
  std::string host;
  std::int64_t pid = 0;
  std::string job;             // the batch system's number; "" outside of one
  std::int64_t heartbeat = 0;  // seconds since 1970, UTC, when the holder last told that it lives

  static LockHolder self();
  /// "process 17 on host n3, job 4711"
  std::string text() const;
  bool same_process(LockHolder const& other) const;
};

/// What take-over depends on.
enum class LockClaim { free, stale, same_job, held };

/// Whether `self` may take a lock that names `holder`, which may be on another host, where this one's locks are not
/// seen. `now` in seconds since 1970.
LockClaim judge(LockHolder const& holder, LockHolder const& self, std::int64_t now);

/// run.lock of a run folder: locked (flock) and, for hosts that this does not reach, renewed by a heartbeat.
/// - Held by a process on this host: refused for as long as that lives.
/// - By one on another host: refused while its heartbeat is younger than `stale_after`; a start of the same batch job
///   (a requeue) takes it over at once.
class RunLock {
public:
  static constexpr std::chrono::seconds stale_after{120};
  static constexpr std::chrono::seconds beat{10};

  /// Throws UserError naming the holder, the age of its heartbeat and what to do when another has the lock;
  /// SystemError when the system refuses.
  explicit RunLock(std::filesystem::path const& folder, std::chrono::milliseconds interval = beat);
  RunLock(RunLock const&) = delete;
  RunLock& operator=(RunLock const&) = delete;
  ~RunLock();

  /// Throws UserError as the constructor would where another has the lock on `folder`, and leaves everything as it is.
  static void require_free(std::filesystem::path const& folder);

  /// Throws UserError when another process has taken the lock over, as it may after this one stood still for long.
  void require_held() const;

private:
  void write(std::int64_t now);
  void renew(std::stop_token const& stop, std::chrono::milliseconds interval);

  std::filesystem::path file_;
  LockHolder self_;
  Descriptor lock_;
  std::atomic<bool> lost_ = false;
  std::jthread heartbeat_;  // the last member: it uses the others
};

}  // namespace jreg::store
