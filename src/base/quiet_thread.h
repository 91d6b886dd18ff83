#pragma once

#include <csignal>
#include <thread>
#include <utility>

namespace jreg {

/// Begins a thread that receives no signals: those are the main thread's.
template <class Body> std::jthread quiet_thread(Body&& body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::jthread thread{std::forward<Body>(body)};
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace jreg
