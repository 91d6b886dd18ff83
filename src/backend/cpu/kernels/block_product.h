#pragma once

// Small matrix products on packed blocks in cache: what attention is made of.

#include <cstdint>

#include "backend/cpu/kernels/level.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

/// Floats in one vector register.
#if defined(__AVX512F__)
constexpr std::int64_t lanes = 16;
#elif defined(__AVX__)
constexpr std::int64_t lanes = 8;
#else
constexpr std::int64_t lanes = 4;
#endif
using Vector = float __attribute__((vector_size(lanes * sizeof(float))));

/// Whether this level multiplies bf16 in pairs: the "floats" of both factors are then two numbers that follow each
/// other along the inner dimension, the products of both are summed up in fp32, and `depth` counts pairs.
#if defined(__AVX512BF16__)
constexpr bool has_pairs = true;
#else
constexpr bool has_pairs = false;
#endif

constexpr std::int64_t padded(std::int64_t count) {
  return (count + lanes - 1) / lanes * lanes;
}

/// The left factor: element (i, k) at data[i * row + k * column]; so a transpose costs nothing.
struct Left {
  float const* data;
  std::int64_t row;
  std::int64_t column;
};

/// Row-major block whose rows start at multiples of a vector and may be read and written up to padded(columns).
struct Block {
  float* data;
  std::int64_t stride;
};

/// The block without its first rows.
inline Block from_row(Block block, std::int64_t row) {
  return {block.data + row * block.stride, block.stride};
}

/// sum + left right; left: one float, or one pair, for all lanes.
template <bool pairs> inline Vector add_product(Vector sum, float left, Vector right) {
#if defined(__AVX512BF16__)
  if constexpr (pairs) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(left), (__m512bh)right);
  }
#endif
  return sum + left * right;
}

template <bool pairs, int rows, int vectors>
inline void product_tile(Left a, float const* b, std::int64_t b_stride, float* c, std::int64_t c_stride,
                         std::int64_t depth, bool accumulate) {
  Vector sum[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      sum[i][j] = accumulate ? *reinterpret_cast<Vector const*>(c + i * c_stride + j * lanes) : Vector{};
    }
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector right[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) right[j] = *reinterpret_cast<Vector const*>(b + k * b_stride + j * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      float const left = a.data[i * a.row + k * a.column];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) sum[i][j] = add_product<pairs>(sum[i][j], left, right[j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) *reinterpret_cast<Vector*>(c + i * c_stride + j * lanes) = sum[i][j];
  }
}

/// Rows of one tile. AVX-512 has 32 registers for sums and factors, the others 16.
constexpr int tall = lanes == 16 ? 8 : 4;

template <bool pairs, int rows>
inline void product_rows(Left a, Block b, Block c, std::int64_t columns, std::int64_t depth, bool accumulate) {
  std::int64_t j = 0;
  for (; j + 2 * lanes <= columns; j += 2 * lanes) {
    product_tile<pairs, rows, 2>(a, b.data + j, b.stride, c.data + j, c.stride, depth, accumulate);
  }
  if (j < columns) product_tile<pairs, rows, 1>(a, b.data + j, b.stride, c.data + j, c.stride, depth, accumulate);
}

/// c (rows, columns) = a (rows, depth) b (depth, columns), or +=; columns is a multiple of `lanes`.
template <bool pairs>
inline void block_product(Left a, Block b, Block c, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                          bool accumulate) {
  std::int64_t i = 0;
  for (; i + tall <= rows; i += tall) {
    product_rows<pairs, tall>(a, b, c, columns, depth, accumulate);
    a.data += tall * a.row;
    c.data += tall * c.stride;
  }
  for (; i < rows; ++i) {
    product_rows<pairs, 1>(a, b, c, columns, depth, accumulate);
    a.data += a.row;
    c.data += c.stride;
  }
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
