#pragma once

#include <chrono>

namespace jreg {

/// Adds the time of its own life to a sum of seconds.
class Stopwatch {
public:
  explicit Stopwatch(double& sum) : sum_{sum} {}
  Stopwatch(Stopwatch const&) = delete;
  Stopwatch& operator=(Stopwatch const&) = delete;
  ~Stopwatch() { sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

private:
  double& sum_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace jreg
