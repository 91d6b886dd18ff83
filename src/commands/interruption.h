#pragma once

#include <array>
#include <csignal>
#include <cstddef>

namespace jreg::commands {

/// While it lives, SIGINT and SIGTERM are only noted, so that temporary files can be removed first.
class Interruption {
public:
  /// Thrown to unwind after a signal.
  struct Noted {
    int signal;
  };

  Interruption() {
    noted_ = 0;
    for (std::size_t i = 0; i < signals.size(); ++i) before_[i] = std::signal(signals[i], note);
  }
  Interruption(Interruption const&) = delete;
  Interruption& operator=(Interruption const&) = delete;
  ~Interruption() {
    for (std::size_t i = 0; i < signals.size(); ++i) std::signal(signals[i], before_[i]);
  }

  /// Throws Noted where a signal came.
  static void check() {
    if (int const signal = noted_; signal != 0) throw Noted{signal};
  }

private:
  static constexpr std::array signals{SIGINT, SIGTERM};
  static void note(int signal) { noted_ = signal; }
  inline static std::sig_atomic_t volatile noted_ = 0;
  std::array<void (*)(int), signals.size()> before_{};
};

/// Runs `action`; where a signal cut it short, the signal then does what it does by default.
template <class Action> void run_interruptibly(Action&& action) {
  try {
    action();
  } catch (Interruption::Noted const& noted) {
    std::signal(noted.signal, SIG_DFL);
    std::raise(noted.signal);
  }
}

}  // namespace jreg::commands
