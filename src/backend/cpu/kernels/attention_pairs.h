#pragma once

// How attention's factors lie in cache: as floats, or as pairs of bf16 that the processor multiplies and sums at once.

#include "backend/cpu/kernels/attention_blocks.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

/// Floats, or pairs, that hold `count` numbers along the inner dimension of a product.
template <bool pairs> constexpr std::int64_t steps(std::int64_t count) {
  return pairs ? (count + 1) / 2 : count;
}

using Bits [[gnu::may_alias]] = std::uint32_t;
/// Two bf16 seen as one float, which is moved and never computed with.
using Pair [[gnu::may_alias, gnu::aligned(2)]] = float;

/// Whether rows of bf16 can be read as pairs.
inline bool in_pairs(AttentionArgs const& args) {
  return has_pairs && args.shape.head_size % 2 == 0 && args.qkv.stride % 2 == 0;
}

/// A left factor: to (rows, steps(columns)) = from (rows, columns).
template <bool pairs, class T>
inline void pack_left(T const* from, std::int64_t from_stride, Block to, std::int64_t rows, std::int64_t columns) {
  if constexpr (pairs) {
    for (std::int64_t i = 0; i < rows; ++i) {
      __builtin_memcpy(to.data + i * to.stride, from + i * from_stride, static_cast<std::size_t>(columns) * sizeof(T));
    }
  } else {
    pack(from, from_stride, to, rows, columns);
  }
}

/// A right factor whose inner dimension are the columns: to (steps(columns), padded rows).
template <bool pairs, class T>
inline void pack_right_transposed(T const* from, std::int64_t from_stride, Block to, std::int64_t rows,
                                  std::int64_t columns) {
  if constexpr (pairs) {
    pack_transposed(reinterpret_cast<Pair const*>(from), from_stride / 2, to, rows, columns / 2);
  } else {
    pack_transposed(from, from_stride, to, rows, columns);
  }
}

/// A right factor whose inner dimension are the rows: to (steps(rows), padded columns); the padding becomes zero.
template <bool pairs, class T>
inline void pack_right(T const* from, std::int64_t from_stride, Block to, std::int64_t rows, std::int64_t columns) {
  if constexpr (pairs) {
    std::int64_t const width = padded(columns);
    for (std::int64_t i = 0; i < rows; i += 2) {
      T const* const even = from + i * from_stride;
      bool const both = i + 1 < rows;
      T const* const odd = both ? even + from_stride : even;
      std::uint32_t const keep = both ? 0xffff0000U : 0U;
      auto* const target = reinterpret_cast<Bits*>(to.data + i / 2 * to.stride);
#pragma omp simd
      for (std::int64_t j = 0; j < columns; ++j) {
        target[j] = even[j].bits | ((static_cast<std::uint32_t>(odd[j].bits) << 16) & keep);
      }
      for (std::int64_t j = columns; j < width; ++j) target[j] = 0;
    }
  } else {
    pack(from, from_stride, to, rows, columns);
  }
}

/// Rounds two rows of scores: to their pairs along the columns, where `along` is given, and to `across`, whose pairs
/// are of the two rows. columns is a multiple of `lanes`; without a second row its place is taken by zeros.
inline void round_rows([[maybe_unused]] Block from, [[maybe_unused]] std::int64_t rows, [[maybe_unused]] Block along,
                       [[maybe_unused]] float* across, [[maybe_unused]] std::int64_t columns) {
#if defined(__AVX512BF16__)
  __m512i const interleaved = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                               6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (std::int64_t j = 0; j < columns; j += lanes) {
    __m512 const first = _mm512_loadu_ps(from.data + j);
    __m512 const second = rows > 1 ? _mm512_loadu_ps(from.data + from.stride + j) : _mm512_setzero_ps();
    auto const both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    if (across != nullptr) _mm512_storeu_si512(across + j, _mm512_permutexvar_epi16(interleaved, both));
    if (along.data == nullptr) continue;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(along.data + j / 2), _mm512_castsi512_si256(both));
    if (rows > 1) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(along.data + along.stride + j / 2),
                          _mm512_extracti64x4_epi64(both, 1));
    }
  }
#endif
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
