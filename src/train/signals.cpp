#include "train/signals.h"

#include <unistd.h>

#include <array>
#include <condition_variable>
#include <mutex>

#include "base/exit_code.h"
#include "base/log.h"

namespace jreg::train {
namespace {

// A handler may touch nothing but these.
volatile std::sig_atomic_t received = 0;
volatile std::sig_atomic_t warned = 0;  // by SIGUSR1
bool ignored = false;                   // from ignore_more() on

void on_signal(int number) {
  if (number == SIGUSR1 && warned != 0) return;  // Slurm sends it again where it has not heard that it came
  if (number == SIGUSR1) warned = 1;
  received = received + 1;
  if (received < 3) return;
  log::urgent_line("jreg: error: a third signal: this rank ends at once, and makes no checkpoint\n");
  _exit(static_cast<int>(ExitCode::retry));  // not ExitCode::signalled, which promises a checkpoint
}

constexpr std::array signals{SIGUSR1, SIGTERM, SIGINT};

void set_handler(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int const signal : signals) sigaction(signal, &action, nullptr);
}

/// Handlers run on this thread while it waits.
void take_signals(std::stop_token const& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock{mutex};
  never.wait(lock, stop, [] { return false; });
}

}  // namespace

SignalWatch::SignalWatch() {
  received = 0;
  warned = 0;
  ignored = false;
  set_handler(on_signal);
  taker_ = std::jthread{take_signals};  // before the signals are blocked here, so that they are not there
  sigset_t ours;
  sigemptyset(&ours);
  for (int const signal : signals) sigaddset(&ours, signal);
  pthread_sigmask(SIG_BLOCK, &ours, &before_);
}

SignalWatch::~SignalWatch() {
  taker_ = {};
  if (!ignored) set_handler(SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void SignalWatch::ignore_more() noexcept {
  ignored = true;
  set_handler(SIG_IGN);
}

bool SignalWatch::raised() noexcept {
  return received > 0;
}

bool SignalWatch::raised_anywhere(mpi::Communicator const& world) {
  std::int64_t raised_here = raised() ? 1 : 0;
  world.max(std::span{&raised_here, 1});
  return raised_here != 0;
}

}  // namespace jreg::train
