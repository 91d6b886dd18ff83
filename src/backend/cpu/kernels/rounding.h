#pragma once

// Rounding many numbers to bf16 at once, by the processor's instruction where this level has it (AVX512-BF16): in a
// loop marked `omp simd` the compiler rounds with eight integer operations.

#include "backend/cpu/kernels/math.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

/// Columns of a row of T from `begin` on, at most `piece`: set by a loop, rounded and stored thereafter. In f32, and
/// where nothing rounds faster, they are stored at once.
template <class T> class RoundedLater {
public:
  static constexpr std::int64_t piece = INT64_MAX;

  RoundedLater(T* row, std::int64_t) : row_{row} {}

  void set(std::int64_t column, float value) { store(row_, column, value); }
  void round(std::int64_t) {}

private:
  T* row_;
};

#if defined(__AVX512BF16__)
template <> class RoundedLater<bfloat16> {
public:
  static constexpr std::int64_t piece = 256;  // what several of these hold stays in the first-level cache

  RoundedLater(bfloat16* row, std::int64_t begin) : row_{row}, begin_{begin} {}

  void set(std::int64_t column, float value) { values_[column - begin_] = value; }

  /// Stores the columns before `end`, all of which were set. Numbers below the smallest normal one become 0.
  void round(std::int64_t end) {
    bfloat16* const to = row_ + begin_;
    std::int64_t const count = end - begin_;
    std::int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      _mm512_storeu_si512(to + i,
                          (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(values_ + i + 16), _mm512_load_ps(values_ + i)));
    }
    for (; i < count; ++i) store(to, i, values_[i]);
  }

private:
  bfloat16* row_;
  std::int64_t begin_;
  alignas(64) float values_[piece];
};
#endif

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
