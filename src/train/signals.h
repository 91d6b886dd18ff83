#pragma once

#include <csignal>
#include <thread>

#include "mpi/communicator.h"

namespace jreg::train {

/// Catches SIGUSR1, SIGTERM and SIGINT for as long as it lives: the first two of them ask for a checkpoint and an end,
/// a third ends the process at once with exit code 75. SIGUSR1 counts once: Slurm may send it again. At most one may
/// exist, made before any other thread: its own thread takes the signals, and all threads that begin later leave them
/// to it. oneDNN's products keep values where a handler on their thread's stack overwrites them.
class SignalWatch {
public:
  SignalWatch();
  SignalWatch(SignalWatch const&) = delete;
  SignalWatch& operator=(SignalWatch const&) = delete;
  ~SignalWatch();

  /// Whether this process was asked to end.
  static bool raised() noexcept;
  /// The checkpoint that was asked for is there: from here on signals change nothing. Launchers send SIGTERM to ranks
  /// that end a moment later than others, which would else count as one more.
  static void ignore_more() noexcept;
  /// Whether any rank was; collective, and the same on every rank.
  static bool raised_anywhere(mpi::Communicator const& world);

private:
  sigset_t before_{};  // signals that were blocked
  std::jthread taker_;
};

}  // namespace jreg::train
