#pragma once

namespace jreg::train {

/// Catches SIGUSR1, SIGTERM and SIGINT for as long as it lives: the first two of them ask for a checkpoint and an end,
/// a third ends the process at once. At most one may exist.
class SignalWatch {
public:
  SignalWatch();
  SignalWatch(SignalWatch const&) = delete;
  SignalWatch& operator=(SignalWatch const&) = delete;
  ~SignalWatch();

  /// Whether this process was asked to end.
  static bool raised() noexcept;
};

}  // namespace jreg::train
