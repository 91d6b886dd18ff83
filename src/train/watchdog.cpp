#include "train/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "base/exit_code.h"
#include "base/host.h"
#include "base/log.h"
#include "base/quiet_thread.h"
#include "train/machine.h"

namespace jreg::train {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

char const* name_of(Phase phase) noexcept {
  switch (phase) {
    case Phase::start_up:
      return "start-up";
    case Phase::preflight:
      return "preflight";
    case Phase::reading:
      return "reading tokens";
    case Phase::computing:
      return "forward and backward";
    case Phase::reduction:
      return "gradient reduction";
    case Phase::evaluation:
      return "evaluation";
    case Phase::probe:
      return "probe";
    case Phase::checkpoint:
      return "checkpoint";
    case Phase::ending:
      return "ending";
  }
  return "?";
}

double Watchdog::limit(Phase phase, double deadline) noexcept {
  bool const slow = phase == Phase::start_up || phase == Phase::checkpoint || phase == Phase::ending;
  return slow ? 2 * deadline : deadline;
}

double Watchdog::grace(double deadline) noexcept {
  return std::min(5.0, deadline);
}

Watchdog::Watchdog(double deadline, int rank) : deadline_{deadline}, rank_{rank}, host_{host_name()} {
  if (deadline_ > 0) thread_ = quiet_thread([this](std::stop_token const& stop) { watch(stop); });
}

void Watchdog::mark(Phase phase, std::int64_t step) noexcept {
  phase_.store(phase, std::memory_order_relaxed);
  step_.store(step, std::memory_order_relaxed);
  mark();
}

void Watchdog::mark() noexcept {
  marks_.fetch_add(1, std::memory_order_release);
}

std::string Watchdog::line(double silent) const {
  return fmt::format(
      "jreg[{}]: error: no progress for {:.0f} s: rank {} on host {}, step {}, phase {}; ending all ranks "
      "({} = {})\n",
      rank_, silent, rank_, host_, step_.load(), name_of(phase_.load()),
      phase_.load() == Phase::preflight ? "a preflight's patience" : "run.step_deadline", deadline_);
}

double Watchdog::patience(double deadline) noexcept {
  return std::min(3.0, deadline);
}

Watchdog::OnHang::OnHang(Watchdog& watchdog, std::function<void()> action) : watchdog_{watchdog} {
  std::scoped_lock const lock{watchdog_.on_hang_mutex_};
  watchdog_.on_hang_ = std::move(action);
}

Watchdog::OnHang::~OnHang() {
  std::scoped_lock const lock{watchdog_.on_hang_mutex_};
  watchdog_.on_hang_ = nullptr;
}

void Watchdog::break_off() {
  auto const over = std::make_shared<std::promise<void>>();
  auto const waited_for = over->get_future();
  // It may hang as well, so nobody joins it: the process ends in any case.
  std::thread{[this, over] {
    std::scoped_lock const lock{on_hang_mutex_};
    if (on_hang_) on_hang_();
    over->set_value();
  }}.detach();
  waited_for.wait_for(std::chrono::duration<double>{patience(deadline_)});
}

void Watchdog::watch(std::stop_token const& stop) {
  std::chrono::duration<double> const tick{std::clamp(deadline_ / 8, 0.01, 1.0)};
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock{mutex};
  std::uint64_t seen = marks_.load(std::memory_order_acquire);
  double silent = 0;
  bool told = false;
  double told_at = 0;
  for (auto before = Clock::now(); !wake.wait_for(lock, stop, tick, [&] { return stop.stop_requested(); });) {
    auto const now = Clock::now();
    // A longer tick is one in which this process was stopped as a whole.
    silent += std::min(std::chrono::duration<double>(now - before), 2 * tick).count();
    before = now;
    if (std::uint64_t const marks = marks_.load(std::memory_order_acquire); marks != seen) {
      if (told) log::urgent_line(fmt::format("jreg[{}]: warning: rank {} goes on after all\n", rank_, rank_));
      seen = marks;
      silent = 0;
      told = false;
    } else if (!told && silent > limit(phase_.load(), deadline_)) {
      log::urgent_line(line(silent));
      told = true;
      told_at = silent;
    } else if (told && silent > told_at + grace(deadline_)) {
      break_off();
      ::_exit(static_cast<int>(ExitCode::retry));
    }
  }
}

}  // namespace jreg::train
