#pragma once

#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/element.cuh"
#include "backend/cuda/kernels/ptx.cuh"
#include "backend/cuda/kernels/reduce.cuh"

// Products of tiles without tensor cores, f32 sums, any head size. A block of 16 x 16 threads works on 64 x 64 scores:
// thread (y, x) = (thread / 16, thread % 16) has rows 4 y .. 4 y + 3 and columns x, x + 16, x + 32, x + 48, so that the
// 16 threads of a row are neighbours in a warp and neighbouring threads read neighbouring addresses.

namespace jreg::backend::cuda {

namespace plain {

constexpr int threads = 256;
constexpr int tile = 64;          // queries, keys
constexpr int depth = 32;         // elements of a head that are in shared memory at a time
constexpr int columns = 64;       // of a head that a block sums up; others are another block's
constexpr int pitch = depth + 1;  // the 33rd bank: rows begin in different ones
constexpr int weight_pitch = tile + 1;

using Scores = float[4][4];
using Sums = float[4][columns / 16];

/// 64 rows of one head, `valid` of them there.
template <class T> struct HeadRows {
  T const* rows;
  std::int64_t stride;
  int valid;
};

/// Shared memory of a block: parts of two factors, and weights of all pairs: 32.8 KiB.
struct Shared {
  float left[tile][pitch];
  float right[tile][pitch];
  float weights[tile][weight_pitch];
};

/// Elements [begin, begin + count) of each row, zeros beyond the valid rows.
template <class T>
__device__ inline void load_part(float (&to)[tile][pitch], HeadRows<T> const& from, int begin, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < tile * depth; i += threads) {
    int const row = i / depth;
    int const column = i % depth;
    bool const there = row < from.valid && column < count;
    to[row][column] = there ? to_float(from.rows[row * from.stride + begin + column]) : 0.0F;
  }
}

/// scores[i][j] = a's row 4 y + i times b's row x + 16 j.
template <class T>
__device__ inline void multiply_rows(Scores& scores, HeadRows<T> const& a, HeadRows<T> const& b, int head_size,
                                     Shared& shared) {
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
  for (auto& row : scores) {
#pragma unroll
    for (float& score : row) score = 0;
  }
  for (int begin = 0; begin < head_size; begin += depth) {
    int const count = min(depth, head_size - begin);
    __syncthreads();  // what stood there is done with
    load_part(shared.left, a, begin, count);
    load_part(shared.right, b, begin, count);
    __syncthreads();
    for (int k = 0; k < count; ++k) {
      float left[4];
      float right[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) left[i] = shared.left[4 * y + i][k];
#pragma unroll
      for (int j = 0; j < 4; ++j) right[j] = shared.right[x + 16 * j][k];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) scores[i][j] = fmaf(left[i], right[j], scores[i][j]);
      }
    }
  }
}

/// Gives all threads of the block the weights of all pairs.
__device__ inline void share_weights(Scores const& weights, Shared& shared) {
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
  __syncthreads();  // those before are done with
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) shared.weights[4 * y + i][x + 16 * j] = weights[i][j];
  }
}

/// sums[i][j] += shared weights of row 4 y + i times column begin + x + 16 j of the 64 rows of b.
template <class T>
__device__ inline void add_weighted(Sums& sums, HeadRows<T> const& b, int begin, int head_size, Shared& shared) {
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
  for (int part = 0; part < columns; part += depth) {
    int const count = min(depth, head_size - begin - part);
    if (count <= 0) break;
    __syncthreads();  // weights are there, and what stood there is done with
    load_part(shared.right, b, begin + part, count);
    __syncthreads();
    for (int k = 0; k < tile; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float const weight = shared.weights[4 * y + i][k];
#pragma unroll
        for (int j = 0; j < depth / 16; ++j) {
          float& sum = sums[i][part / 16 + j];
          sum = fmaf(weight, shared.right[k][x + 16 * j], sum);
        }
      }
    }
  }
}

/// Writes factor[i] * sums to columns [begin, begin + columns) of the valid rows.
template <class T>
__device__ inline void store_sums(Sums const& sums, float const (&factor)[4], T* to, std::int64_t stride, int valid,
                                  int begin, int head_size) {
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < columns / 16; ++j) {
      int const row = 4 * y + i;
      int const column = begin + x + 16 * j;
      if (row < valid && column < head_size) to[row * stride + column] = from_float<T>(factor[i] * sums[i][j]);
    }
  }
}

/// Where a block works: 64 rows of one head from `begin` on, and the columns that it sums up.
struct Place {
  int begin;
  int head;            // of the token
  std::int64_t batch;  // sequence
  int column;
};

/// Blocks of `heads` heads in order of tiles, latest first or earliest first.
__device__ inline Place place_of(TileOrder const& order, int heads, bool latest_first) {
  TileOrder::Place const place = order(blockIdx.x);
  unsigned const number = latest_first ? order.tiles - 1 - place.rank : place.rank;
  auto const all = static_cast<unsigned>(heads);
  return {static_cast<int>(number) * tile, static_cast<int>(place.head % all),
          static_cast<std::int64_t>(place.head / all), static_cast<int>(blockIdx.y) * columns};
}

}  // namespace plain

}  // namespace jreg::backend::cuda
