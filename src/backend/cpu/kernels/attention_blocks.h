#pragma once

// What the two passes of attention share: block sizes, and packing of a head's tiles into floats.

#include "backend/cpu/kernels/block_product.h"
#include "backend/cpu/kernels/math.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

/// Query rows and keys of one block of scores. Key blocks start at multiples of query blocks, so that every query of
/// a block sees at least the first key of each key block it meets.
constexpr std::int64_t query_block = 32;
constexpr std::int64_t key_block = 256;
static_assert(key_block % query_block == 0 && attention_chunk % query_block == 0 && key_block % lanes == 0);

inline std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

/// to (rows, padded columns) = from (rows, columns) * factor; the padding becomes zero.
template <class T>
inline void pack(T const* from, std::int64_t from_stride, Block to, std::int64_t rows, std::int64_t columns,
                 float factor = 1) {
  std::int64_t const width = padded(columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    T const* const source = from + i * from_stride;
    float* const target = to.data + i * to.stride;
#pragma omp simd
    for (std::int64_t j = 0; j < columns; ++j) target[j] = factor * load(source, j);
    for (std::int64_t j = columns; j < width; ++j) target[j] = 0;
  }
}

/// to (columns, padded rows) = transpose of from (rows, columns); the padding becomes zero.
template <class T>
inline void pack_transposed(T const* from, std::int64_t from_stride, Block to, std::int64_t rows,
                            std::int64_t columns) {
  std::int64_t const width = padded(rows);
  for (std::int64_t start = 0; start < width; start += lanes) {
    std::int64_t const stop = smaller(start + lanes, rows);
    for (std::int64_t j = 0; j < columns; ++j) {
      float* const target = to.data + j * to.stride;
      for (std::int64_t i = start; i < stop; ++i) target[i] = load(from + i * from_stride, j);
      for (std::int64_t i = stop > start ? stop : start; i < start + lanes; ++i) target[i] = 0;
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
