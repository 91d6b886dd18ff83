#pragma once

#include <omp.h>

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu {

/// Calls work(Range) on every thread with its share of [0, count); on the calling thread alone where two shares of at
/// least `grain` do not exist. Shares depend on nothing but count and the number of threads.
template <class Work> void parallel_ranges(std::int64_t count, std::int64_t grain, Work const& work) {
  if (count <= 0) return;
  if (omp_get_max_threads() == 1 || count < 2 * grain) {
    work(Range{0, count});
    return;
  }
#pragma omp parallel
  {
    std::int64_t const threads = omp_get_num_threads();
    std::int64_t const thread = omp_get_thread_num();
    Range const share{count * thread / threads, count * (thread + 1) / threads};
    if (share.begin < share.end) work(share);
  }
}

/// Calls work(unit, thread) for units 0 .. count-1, in any order; each unit must write places of its own.
template <class Work> void parallel_units(std::int64_t count, Work const& work) {
  if (omp_get_max_threads() == 1 || count == 1) {
    for (std::int64_t unit = 0; unit < count; ++unit) work(unit, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t unit = 0; unit < count; ++unit) work(unit, omp_get_thread_num());
}

}  // namespace jreg::backend::cpu
