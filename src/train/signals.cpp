#include "train/signals.h"

#include <unistd.h>

#include <csignal>
#include <initializer_list>

#include "base/exit_code.h"

namespace jreg::train {
namespace {

// A handler may touch nothing but this.
volatile std::sig_atomic_t received = 0;

void on_signal(int) {
  received = received + 1;
  // No checkpoint was made for this end: not ExitCode::signalled.
  if (received >= 3) _exit(static_cast<int>(ExitCode::retry));
}

void set_handler(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int const signal : {SIGUSR1, SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

}  // namespace

SignalWatch::SignalWatch() {
  received = 0;
  set_handler(on_signal);
}

SignalWatch::~SignalWatch() {
  set_handler(SIG_DFL);
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
