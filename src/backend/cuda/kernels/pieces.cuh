#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cuda/kernels/reduce.cuh"
#include "backend/cuda/launch.h"
#include "base/expect.h"

// Grids for operations that treat every element of a matrix alike: rows cut into pieces, one block each.

namespace jreg::backend::cuda {

/// A block takes `threads` times some packs of one row; neighbouring threads take neighbouring packs.
struct Pieces {
  unsigned per_row = 0;
  unsigned threads = 0;
  unsigned blocks = 0;
};

/// Pieces of `rows` rows of `packs` packs, of which a thread takes at most `packs_per_thread`.
inline Pieces pieces_of(std::int64_t rows, std::int64_t packs, int packs_per_thread, std::int64_t most_threads = 128) {
  if (rows == 0 || packs == 0) return {};
  std::int64_t const threads =
      std::min(most_threads, groups_of(warp_size, groups_of(packs_per_thread, packs)) * warp_size);
  std::int64_t const per_row = groups_of(threads * packs_per_thread, packs);
  expect(rows <= INT32_MAX / per_row, "a grid covers the matrix");
  return {static_cast<unsigned>(per_row), static_cast<unsigned>(threads), static_cast<unsigned>(rows * per_row)};
}

/// Where a thread of such a grid works: pack number `pack` of the row, and then every `blockDim.x`-th.
struct Place {
  std::int64_t row;
  std::int64_t pack;
};

template <int packs_per_thread> __device__ Place place_of(unsigned per_row) {
  unsigned const row = blockIdx.x / per_row;
  unsigned const piece = blockIdx.x - row * per_row;
  return {static_cast<std::int64_t>(row),
          static_cast<std::int64_t>(piece) * (blockDim.x * packs_per_thread) + threadIdx.x};
}

}  // namespace jreg::backend::cuda
