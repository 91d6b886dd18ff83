#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace jreg::train {

/// What a rank is at.
enum class Phase : std::uint8_t {
  start_up,
  preflight,
  reading,
  computing,
  reduction,
  evaluation,
  probe,
  checkpoint,
  ending
};

/// "start-up", "reading tokens", "forward and backward", "gradient reduction", "evaluation", ...
char const* name_of(Phase phase) noexcept;

/// Ends a run that hangs. Each rank has one: a thread that sees when the rank's main thread has marked nothing for
/// longer than the phase's limit. It then prints one line with rank, host, step and phase to standard error, waits
/// (grace()) so that the other ranks, which wait in vain and have such threads too, can print theirs, and ends the
/// process with exit code 75, on which the launcher ends all ranks. Time in which the whole process was stopped
/// (a job suspended and continued) does not count. It uses no MPI.
class Watchdog {
public:
  /// `deadline` in seconds; 0: nothing is watched. Make it before MPI_Init, which may hang too.
  Watchdog(double deadline, int rank);
  Watchdog(Watchdog const&) = delete;
  Watchdog& operator=(Watchdog const&) = delete;
  ~Watchdog() = default;

  /// What is done for a rank that hangs before its process ends, in a thread of its own and for no longer than
  /// patience(): break off exchanges, so that devices are free again. As long as this lives; its end waits for it.
  class OnHang {
  public:
    OnHang(Watchdog& watchdog, std::function<void()> action);
    OnHang(OnHang const&) = delete;
    OnHang& operator=(OnHang const&) = delete;
    ~OnHang();

  private:
    Watchdog& watchdog_;
  };
  static double patience(double deadline) noexcept;

  /// This rank is alive, in `phase` on its way to `step` updates. Costs a few stores: call it often.
  void mark(Phase phase, std::int64_t step) noexcept;
  /// The same, in the phase and step of the last mark.
  void mark() noexcept;

  /// Seconds without a mark after which a phase counts as hanging: the deadline; twice that in start-up, checkpoints
  /// and the end, which move much data between two marks.
  static double limit(Phase phase, double deadline) noexcept;
  /// Seconds between the line and the end: 5, or the deadline where that is shorter.
  static double grace(double deadline) noexcept;

private:
  void watch(std::stop_token const& stop);
  std::string line(double silent) const;
  void break_off();

  double deadline_;
  int rank_;
  std::string host_;
  std::atomic<std::uint64_t> marks_ = 0;
  std::atomic<Phase> phase_ = Phase::start_up;
  std::atomic<std::int64_t> step_ = 0;
  std::mutex on_hang_mutex_;
  std::function<void()> on_hang_;  // null: nothing
  std::jthread thread_;            // the last member: it uses the others
};

}  // namespace jreg::train
