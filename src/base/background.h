#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <stop_token>
#include <thread>

namespace jreg {

/// One piece of work on a thread of its own. Destroying it asks the work to stop and waits until it has ended.
class Background {
public:
  explicit Background(std::function<void(std::stop_token const&)> work);
  Background(Background const&) = delete;
  Background& operator=(Background const&) = delete;

  /// Whether the work goes on; never waits.
  bool busy() const noexcept { return !ended_.load(std::memory_order_acquire); }
  /// Waits for the end, then throws what the work threw. Once only.
  void finish();

private:
  std::atomic<bool> ended_{false};
  std::exception_ptr error_;
  std::jthread thread_;  // last: ends before what it works with
};

}  // namespace jreg
