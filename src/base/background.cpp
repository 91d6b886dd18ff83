#include "base/background.h"

#include <utility>

namespace jreg {

Background::Background(std::function<void(std::stop_token const&)> work)
    : thread_{[this, work = std::move(work)](std::stop_token const& stop) {
        try {
          work(stop);
        } catch (...) {
          error_ = std::current_exception();
        }
        ended_.store(true, std::memory_order_release);
      }} {}

void Background::finish() {
  thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace jreg
