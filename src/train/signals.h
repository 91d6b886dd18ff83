#pragma once

#include "mpi/communicator.h"

namespace jreg::train {

/// Catches SIGUSR1, SIGTERM and SIGINT for as long as it lives: the first two of them ask for a checkpoint and an end,
/// a third ends the process at once with exit code 75. At most one may exist.
class SignalWatch {
public:
  SignalWatch();
  SignalWatch(SignalWatch const&) = delete;
  SignalWatch& operator=(SignalWatch const&) = delete;
  ~SignalWatch();

  /// Whether this process was asked to end.
  static bool raised() noexcept;
  /// Whether any rank was; collective, and the same on every rank.
  static bool raised_anywhere(mpi::Communicator const& world);
};

}  // namespace jreg::train
