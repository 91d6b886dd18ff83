#include "train/machine.h"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
#include <fstream>

#include "backend/arena.h"
#include "base/host.h"
#include "base/log.h"

namespace jreg::train {

double measured_gemm_rate(backend::Backend& backend, DType dtype) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t size = 1024;
  backend::Tensor x;
  backend::Tensor w;
  backend::Tensor y;
  backend::Arena const arena{backend, [&](backend::Placer& placer) {
                               x = placer.tensor(dtype, size, size);
                               w = placer.tensor(dtype, size, size);
                               y = placer.tensor(dtype, size, size);
                             }};
  backend.ops().zero(x);
  backend.ops().zero(w);
  auto const flop = [](std::int64_t n) { return 2.0 * static_cast<double>(n * n * n); };
  auto const rate_of = [&](std::int64_t n) {
    auto const part = [n](backend::Tensor const& whole) { return whole.row_range(0, n).column_range(0, n); };
    auto const before = Clock::now();
    backend.ops().linear(part(x), part(w), part(y));
    backend.synchronize();
    return flop(n) / std::chrono::duration<double>(Clock::now() - before).count();
  };
  double best = 0;
  // Small products tell whether large ones take a second each, as on the software device of tests.
  for (int i = 0; i < 3; ++i) best = std::max(best, rate_of(size / 4));
  if (flop(size) > best) return best;
  best = 0;
  auto const begin = Clock::now();
  for (int i = 0; i < 3 || (i < 200 && Clock::now() - begin < std::chrono::milliseconds{150}); ++i) {
    best = std::max(best, rate_of(size));
  }
  return best;
}

double measured_memory_rate(backend::Backend& backend) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t values = std::int64_t{64} << 20;
  backend::Tensor numbers;
  backend::Tensor sum;
  backend::Arena const arena{backend, [&](backend::Placer& placer) {
                               numbers = placer.tensor(DType::f32, 1, values);
                               sum = placer.tensor(DType::f64, 1, 1);
                             }};
  backend.ops().zero(numbers);
  backend.ops().zero(sum);
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    auto const before = Clock::now();
    backend.ops().add_squares(numbers, sum);
    backend.synchronize();
    best = std::max(
        best, static_cast<double>(numbers.bytes()) / std::chrono::duration<double>(Clock::now() - before).count());
  }
  return best;
}

std::int64_t resident_bytes() {
  std::ifstream file{"/proc/self/statm"};  // pages: all, resident, ...
  std::int64_t pages = 0;
  file >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

std::int64_t peak_resident_bytes() {
  // Not getrusage's maximum, which a process inherits from the one that started it.
  std::ifstream file{"/proc/self/status"};
  std::int64_t kilobytes = 0;
  for (std::string word; file >> word;) {
    if (word == "VmHWM:") file >> kilobytes;
  }
  return kilobytes * 1024;
}

std::string utc_now() {
  std::time_t const now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

void warn_of_narrow_binding() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int const cores = CPU_COUNT(&allowed);
  if (cores < omp_get_max_threads()) {
    log::warning(
        "{} OpenMP threads may use only {} core(s) of {}: set OMP_NUM_THREADS, or launch with --map-by "
        "slot:PE=<threads> or --bind-to none",
        omp_get_max_threads(), cores, host_name());
  }
}

}  // namespace jreg::train
