#pragma once

#include <cmath>

#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/attention_tile.cuh"
#include "backend/cuda/launch.h"

// What the forward pass and the gradient of queries have in common: a block of 128 queries of one head, 4 warps of 32,
// goes over tiles of keys and values in two stages of shared memory, the next tile travelling while one is worked on.
// Two tiles of 16 queries a warp use every fragment of keys and values twice: shared memory could not feed one.

namespace jreg::backend::cuda {

template <int size> struct QueryTiles {
  static constexpr int m_tiles = 2;  // of a warp, 16 queries each
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int rows = 16 * m_tiles;     // queries of a warp
  static constexpr int queries = rows * warps;  // of a block
  static constexpr int keys = 4096 / size;      // of a tile: 64 or 32
  static constexpr int step = 32;               // keys whose scores are in registers
  static constexpr int n_tiles = step / 8;
  static constexpr int tile_bytes = Tile<size>::bytes(keys);
  static constexpr int block_bytes = Tile<size>::bytes(queries);
  static constexpr int stage_bytes = 2 * tile_bytes;  // keys, values
  static_assert(threads == queries);                  // a thread brings the numbers of one query

  using Scores = float[m_tiles][n_tiles][4];
  using Sums = float[m_tiles][size / 8][4];
};

/// Which queries a block has, and where their keys are. Lies in shared memory, the stride too: this, and what is
/// computed from it anew for each tile, would otherwise wait in registers that the products need.
template <int size> struct QueryBlock {
  using Tiles = QueryTiles<size>;
  std::int64_t token;         // first of the sequence
  std::int32_t const* first;  // of the sequence
  Bf16 const* keys;           // of the sequence
  std::int64_t stride;        // of keys
  unsigned row;               // batch * heads + head
  int head;
  int begin;  // queries
  int end;
  int key_begin;  // of the first tile that any query sees

  __device__ QueryBlock(BrainArguments const& args, TileOrder const& order) {
    TileOrder::Place const place = order(blockIdx.x);
    row = place.head;
    head = static_cast<int>(place.head % static_cast<unsigned>(args.heads));
    token = static_cast<std::int64_t>(place.head / static_cast<unsigned>(args.heads)) * args.sequence;
    first = args.first == nullptr ? nullptr : args.first + token;
    keys = args.qkv + token * args.qkv_stride + args.key_column(head / args.group);
    stride = args.qkv_stride;
    begin = static_cast<int>(order.tiles - 1 - place.rank) * Tiles::queries;  // later ones see more keys
    end = min(begin + Tiles::queries, args.sequence);
    key_begin = lowest(begin) / Tiles::keys * Tiles::keys;
  }

  /// The first key that a query of the sequence sees.
  __device__ int lowest(int query) const { return first == nullptr ? 0 : first[query]; }
  /// Begins to copy the tile of keys and values from `key` on; one group of copies.
  __device__ void fetch(BrainArguments const& args, unsigned char* stage, int key) const {
    Bf16 const* const from = keys + key * stride;
    int const valid = args.sequence - key;
    copy_rows_async<size, Tiles::keys, Tiles::threads>(stage, from, stride, valid);
    copy_rows_async<size, Tiles::keys, Tiles::threads>(stage + Tiles::tile_bytes, from + args.kv_heads * size, stride,
                                                       valid);
    copy_async_commit();
  }
  /// Begins to copy this head's rows of the block's queries; `rows` are the sequence's.
  __device__ void fetch_queries(unsigned char* to, Bf16 const* rows, std::int64_t row_stride) const {
    copy_rows_async<size, Tiles::queries, Tiles::threads>(to, rows + begin * row_stride + head * size, row_stride,
                                                          end - begin);
  }
};

/// Makes it and shows it to all threads of the block.
template <class Block>
__device__ inline Block const& share_block(void* at, BrainArguments const& args, TileOrder const& order) {
  auto* const shared = static_cast<Block*>(at);
  if (threadIdx.x == 0) *shared = Block{args, order};
  __syncthreads();
  return *shared;
}

/// Scores of keys that their queries do not see become -infinity. `lowest` gives the first key that each of the warp's
/// queries sees; the first one is `query`, the first key `key`.
template <int m_tiles, int n_tiles, class Lowest>
__device__ inline void hide_unseen(float (&scores)[m_tiles][n_tiles][4], Lowest const& lowest, int query, int key,
                                   int lane) {
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int const row = 16 * m + 8 * half + lane / 4;
      int const column = key + lane % 4 * 2;  // of this lane's first score
      int const last = query + row - column;
      int const lowest_column = lowest(row) - column;
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
        for (int right = 0; right < 2; ++right) {
          int const distance = 8 * n + right;
          if (distance > last || distance < lowest_column) scores[m][n][2 * half + right] = -INFINITY;
        }
      }
    }
  }
}

/// The warp's scores of `step` keys; false where none of its queries sees any of these keys.
template <int size, class Lowest>
__device__ inline bool make_scores(typename QueryTiles<size>::Scores& scores, unsigned char const* queries,
                                   unsigned char const* keys, Lowest const& lowest, int query, int key, int sequence,
                                   int lane) {
  using Tiles = QueryTiles<size>;
  if (query >= sequence || key >= query + Tiles::rows || key + Tiles::step <= lowest(0)) return false;
  add_row_products<size>(scores, queries, keys, lane);
  int const last = min(Tiles::rows, sequence - query) - 1;
  if (key + Tiles::step - 1 > query || key < lowest(last)) hide_unseen(scores, lowest, query, key, lane);
  return true;
}

/// Launches `kernel` over all blocks of queries.
template <int size>
void launch_queries(Context const& context, AttentionShape const& shape, BrainArguments const& args, std::size_t shared,
                    void (*kernel)(BrainArguments, TileOrder)) {
  using Tiles = QueryTiles<size>;
  TileOrder const order = tile_order(shape.batch * shape.heads, groups_of(Tiles::queries, shape.sequence), args.group,
                                     shape.sequence * size * 4 / args.group);
  launch(kernel, dim3{order.heads * order.tiles}, dim3{Tiles::threads}, shared, context.stream, args, order);
}

}  // namespace jreg::backend::cuda
