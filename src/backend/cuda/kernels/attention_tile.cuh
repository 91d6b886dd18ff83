#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <cstring>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/ptx.cuh"
#include "backend/cuda/kernels/reduce.cuh"

// Tiles of rows of one head in shared memory, and their products on tensor cores. A warp owns 16 m_tiles rows of a
// product; with g = lane / 4, q = lane % 4 it holds in sums[m][n] the elements (16 m + g, 8 n + 2 q), its right
// neighbour, and the two that stand 8 rows below (ptx.cuh).

namespace jreg::backend::cuda {

/// Rows of head_size bf16 with 16 bytes between them: the same chunk of 16 bytes of eight neighbouring rows lies in
/// eight different groups of banks, so that neither ldmatrix nor copies have conflicts, and every place of a tile lies
/// at a distance from the lane's own that is known when the kernel is compiled, which costs no register.
template <int head_size> struct Tile {
  static_assert(head_size == 64 || head_size == 128);
  static constexpr int row_bytes = head_size * 2 + 16;
  static constexpr int chunks = head_size / 8;

  static constexpr int bytes(int rows) { return rows * row_bytes; }
  static __device__ int offset(int row, int chunk) { return row * row_bytes + chunk * 16; }

  // Where this lane's row of the four 8 x 8 matrices of a 16 x 16 block begins.
  /// Matrices in the order (0, 0), (8, 0), (0, 8), (8, 8) of (row, column).
  static __device__ int down_first(int lane) { return offset(lane % 16, lane / 16); }
  /// Matrices in the order (0, 0), (0, 8), (8, 0), (8, 8).
  static __device__ int right_first(int lane) { return offset(lane % 8 + lane / 16 * 8, lane / 8 % 2); }
};

/// Begins to copy `rows` rows of a head to a tile with all `threads` of the block; rows from `valid` on become zeros.
template <int head_size, int rows, int threads>
__device__ inline void copy_rows_async(unsigned char* tile, Bf16 const* from, std::int64_t stride, int valid) {
  using Layout = Tile<head_size>;
  constexpr int step = threads / Layout::chunks;  // rows that the block copies at a time
  static_assert(rows % step == 0);
  int const chunk = static_cast<int>(threadIdx.x) % Layout::chunks;
  int const row = static_cast<int>(threadIdx.x) / Layout::chunks;
  unsigned char* to = tile + Layout::offset(row, chunk);
  Bf16 const* source = from + row * stride + chunk * 8;
#pragma unroll 2  // not more: the addresses would wait in registers that the products need
  for (int i = row; i < row + rows; i += step) {
    copy_async_16(to, source, i < valid);
    to += step * Layout::row_bytes;
    source += step * stride;
  }
}

/// sums += a b^T over the head: a (16 m_tiles rows), b (8 n_tiles rows).
template <int head_size, int m_tiles, int n_tiles>
__device__ inline void add_row_products(float (&sums)[m_tiles][n_tiles][4], unsigned char const* a,
                                        unsigned char const* b, int lane) {
  using Layout = Tile<head_size>;
  unsigned char const* const own_a = a + Layout::down_first(lane);
  unsigned char const* const own_b = b + Layout::right_first(lane);
#pragma unroll
  for (int k = 0; k < head_size / 16; ++k) {
    std::uint32_t left[m_tiles][4];
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) load_matrix_x4(left[m], own_a + Layout::bytes(16 * m) + 32 * k);
#pragma unroll
    for (int n = 0; n < n_tiles; n += 2) {
      std::uint32_t right[4];
      load_matrix_x4(right, own_b + Layout::bytes(8 * n) + 32 * k);
      std::uint32_t const even[2] = {right[0], right[1]};
      std::uint32_t const odd[2] = {right[2], right[3]};
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
        mma_bf16(sums[m][n], left[m], even);
        mma_bf16(sums[m][n + 1], left[m], odd);
      }
    }
  }
}

/// Two neighbours rounded to bf16 (to the nearest, ties to even), the first in the lower half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  __nv_bfloat162 const pair = __floats2bfloat162_rn(low, high);
  std::uint32_t bits;
  std::memcpy(&bits, &pair, sizeof bits);
  return bits;
}

/// sums += w b: w (16 m_tiles x 8 n_tiles) as a product left it, rounded to bf16; b (8 n_tiles rows of the head).
template <int head_size, int m_tiles, int n_tiles>
__device__ inline void add_weighted_rows(float (&sums)[m_tiles][head_size / 8][4],
                                         float const (&w)[m_tiles][n_tiles][4], unsigned char const* b, int lane) {
  using Layout = Tile<head_size>;
  unsigned char const* const own_b = b + Layout::down_first(lane);
#pragma unroll
  for (int k = 0; k < n_tiles; k += 2) {
    std::uint32_t left[m_tiles][4];
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
      left[m][0] = pack_bf16(w[m][k][0], w[m][k][1]);
      left[m][1] = pack_bf16(w[m][k][2], w[m][k][3]);
      left[m][2] = pack_bf16(w[m][k + 1][0], w[m][k + 1][1]);
      left[m][3] = pack_bf16(w[m][k + 1][2], w[m][k + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < head_size / 16; ++n) {
      std::uint32_t right[4];
      load_matrix_x4_transposed(right, own_b + Layout::bytes(8 * k) + 32 * n);
      std::uint32_t const even[2] = {right[0], right[1]};
      std::uint32_t const odd[2] = {right[2], right[3]};
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
        mma_bf16(sums[m][2 * n], left[m], even);
        mma_bf16(sums[m][2 * n + 1], left[m], odd);
      }
    }
  }
}

/// Writes factor[m][half] * sums as bf16 to the rows of a head, through `staging`: 16 m_tiles rows of a tile that this
/// warp alone uses. Rows from `valid` on are left out.
template <int head_size, int m_tiles>
__device__ inline void store_rows(float const (&sums)[m_tiles][head_size / 8][4], float const (&factor)[m_tiles][2],
                                  unsigned char* staging, Bf16* to, std::int64_t stride, int valid, int lane) {
  using Layout = Tile<head_size>;
  __syncwarp();  // all lanes have read what stood there
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int n = 0; n < head_size / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        int const row = 16 * m + 8 * half + lane / 4;
        float const f = factor[m][half];
        std::uint32_t const pair = pack_bf16(f * sums[m][n][2 * half], f * sums[m][n][2 * half + 1]);
        std::memcpy(staging + Layout::offset(row, n) + lane % 4 * 4, &pair, sizeof pair);
      }
    }
  }
  __syncwarp();
  int const chunk = lane % Layout::chunks;
#pragma unroll
  for (int row = lane / Layout::chunks; row < 16 * m_tiles; row += warp_size / Layout::chunks) {
    auto const pack = load<Bf16, 8>(reinterpret_cast<Bf16 const*>(staging + Layout::offset(row, chunk)));
    if (row < valid) store(to + row * stride + chunk * 8, pack);
  }
}

}  // namespace jreg::backend::cuda
