#pragma once

// What the two passes of attention share: block sizes, and packing of a head's tiles into floats.

#include "backend/cpu/kernels/block_product.h"
#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

/// Query rows and keys of one block of scores. Key blocks start at multiples of query blocks, so that causality alone
/// lets every query of a block see at least the first key of each key block it meets.
constexpr std::int64_t query_block = 32;
constexpr std::int64_t key_block = 256;
static_assert(key_block % query_block == 0 && attention_chunk % query_block == 0 && key_block % lanes == 0);

inline std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

/// Where each query's keys begin: the first of its document.
struct FirstKeys {
  std::int32_t const* of_query;  // (sequence); null: 0 for all

  std::int64_t at(std::int64_t query) const { return of_query == nullptr ? 0 : of_query[query]; }
  /// Where the key blocks of the queries from `query` on begin: as first keys never fall, none of these sees less.
  std::int64_t block_at(std::int64_t query) const { return at(query) / query_block * query_block; }
};

inline FirstKeys first_keys(AttentionArgs const& args, std::int64_t batch) {
  if (args.first.data == nullptr) return {nullptr};
  return {static_cast<std::int32_t const*>(args.first.data) + batch * args.shape.sequence};
}

/// Which keys of a block one query sees: [begin, end), counted from the block's first; none where end <= begin.
struct Visible {
  std::int64_t begin;
  std::int64_t end;
};

/// Of a block's keys [key, key + keys) those that any of the queries before `query` sees, none of them before `key`.
inline std::int64_t keys_before(std::int64_t query, std::int64_t key, std::int64_t keys) {
  return smaller(keys, query - key);
}

/// Of the keys [key, key + keys).
inline Visible visible_keys(FirstKeys const& first, std::int64_t query, std::int64_t key, std::int64_t keys) {
  std::int64_t const begin = first.at(query) - key;
  return {begin > 0 ? begin : 0, smaller(keys, query - key + 1)};
}

/// to (rows, padded columns) = from (rows, columns); the padding becomes zero.
template <class T>
inline void pack(T const* from, std::int64_t from_stride, Block to, std::int64_t rows, std::int64_t columns) {
  std::int64_t const width = padded(columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    T const* const source = from + i * from_stride;
    float* const target = to.data + i * to.stride;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) target[j] = load(source, j);
    for (std::int64_t j = columns; j < width; ++j) target[j] = 0;
  }
}

using Square = float[16][16];

/// Row j of `to` = column j of `from`.
inline void write_transposed(Square const& from, float* to, std::int64_t stride) {
#if defined(__AVX512F__)
  Vector row[16];
  Vector half[16];
  for (int i = 0; i < 16; ++i) row[i] = *reinterpret_cast<Vector const*>(from[i]);
  // Four rounds, each exchanging between rows i and i + distance what a transpose exchanges at that distance.
  using Lanes = std::int32_t __attribute__((vector_size(64)));
  constexpr Lanes low8{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23};
  constexpr Lanes high8{8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31};
  constexpr Lanes low4{0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27};
  constexpr Lanes high4{4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31};
  constexpr Lanes low2{0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
  constexpr Lanes high2{2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31};
  constexpr Lanes low1{0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30};
  constexpr Lanes high1{1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31};
  auto const exchange = [](Vector const* in, Vector* out, int distance, Lanes low, Lanes high) {
    for (int i = 0; i < 16; ++i) {
      if ((i & distance) != 0) continue;
      out[i] = __builtin_shuffle(in[i], in[i + distance], low);
      out[i + distance] = __builtin_shuffle(in[i], in[i + distance], high);
    }
  };
  exchange(row, half, 8, low8, high8);
  exchange(half, row, 4, low4, high4);
  exchange(row, half, 2, low2, high2);
  exchange(half, row, 1, low1, high1);
  for (int j = 0; j < 16; ++j) *reinterpret_cast<Vector*>(to + j * stride) = row[j];
#else
  for (int j = 0; j < 16; ++j) {
    for (int i = 0; i < 16; ++i) to[j * stride + i] = from[i][j];
  }
#endif
}

/// to (columns, padded rows) = transpose of from (rows, columns); the padding becomes zero.
template <class T>
inline void pack_transposed(T const* from, std::int64_t from_stride, Block to, std::int64_t rows,
                            std::int64_t columns) {
  // Rows of `from` may lie a page apart, where a walk down a column keeps throwing out its own cache lines: squares
  // pass through a buffer.
  constexpr std::int64_t square = 16;
  alignas(64) Square buffer;
  for (std::int64_t row = 0; row < padded(rows); row += square) {
    std::int64_t const height = smaller(square, rows - row);
    std::int64_t const width = smaller(square, padded(rows) - row);
    for (std::int64_t column = 0; column < columns; column += square) {
      std::int64_t const count = smaller(square, columns - column);
      for (std::int64_t i = 0; i < height; ++i) {
        T const* const source = from + (row + i) * from_stride + column;
#pragma omp simd
        for (std::int64_t j = 0; j < count; ++j) buffer[i][j] = load(source, j);
      }
      if (height == square && count == square) {
        write_transposed(buffer, to.data + column * to.stride + row, to.stride);
        continue;
      }
      for (std::int64_t j = 0; j < count; ++j) {
        float* const target = to.data + (column + j) * to.stride + row;
        for (std::int64_t i = 0; i < height; ++i) target[i] = buffer[i][j];
        for (std::int64_t i = height; i < width; ++i) target[i] = 0;
      }
    }
  }
}

/// Cuts a thread's scratch into blocks; without memory it only counts floats.
struct ScratchCutter {
  float* memory;
  std::int64_t used = 0;

  Block cut(std::int64_t rows, std::int64_t columns) {
    Block const block{memory == nullptr ? nullptr : memory + used, padded(columns)};
    used += rows * block.stride;
    return block;
  }
};

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
