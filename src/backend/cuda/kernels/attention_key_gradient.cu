#include <cmath>

#include "backend/cuda/kernels/attention_numbers.cuh"
#include "backend/cuda/kernels/attention_tile.cuh"
#include "backend/cuda/kernels/attention_turn.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

/// Heads of 64: 4 warps of 32 keys, two blocks an SM. Heads of 128: the sums of 32 keys would not fit the registers of
/// a warp, so 8 warps of 16 keys, one block.
template <int size> struct KeyTiles {
  static constexpr int m_tiles = size == 64 ? 2 : 1;  // of a warp, 16 keys each
  static constexpr int warps = size == 64 ? 4 : 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int rows = 16 * m_tiles;  // keys of a warp
  static constexpr int keys = rows * warps;  // of a block
  static constexpr int queries = 64;         // of a tile
  static constexpr int step = 32;            // queries whose scores are in registers
  static constexpr int n_tiles = step / 8;
  static constexpr int slice = size == 64 ? 2 : n_tiles;  // whose gradients are in registers besides: 32 would not fit
  static constexpr int blocks_of_multiprocessor = size == 64 ? 2 : 1;
  static constexpr int tile_bytes = Tile<size>::bytes(queries);
  static constexpr int block_bytes = Tile<size>::bytes(keys);
  static constexpr int stage_bytes = 2 * tile_bytes + queries * static_cast<int>(sizeof(QueryNumber));

  using Scores = float[m_tiles][n_tiles][4];  // (keys, queries)
  using Slice = float[m_tiles][slice][4];
  using Sums = float[m_tiles][size / 8][4];
};

/// How many tiles of `queries` queries from `tile` on see a key before `key_end`; since `first` never falls they are
/// neighbours. The warp looks at 32 tiles at a time.
__device__ inline int seeing_tiles(std::int32_t const* first, int sequence, int tile, int queries, int key_end,
                                   int lane) {
  int const tiles = (sequence + queries - 1) / queries;
  if (first == nullptr) return tiles - tile;
  int count = 0;
  for (;; tile += warp_size) {
    int const mine = tile + lane;
    bool const sees = mine < tiles && first[static_cast<std::int64_t>(mine) * queries] < key_end;
    int const found = __popc(__ballot_sync(whole_warp, sees));
    count += found;
    if (found < warp_size) return count;
  }
}

/// Which keys a block has, and where the queries of their group are. Lies in shared memory, strides too: what is
/// computed from them anew for each tile would otherwise wait in registers that the products need.
template <int size> struct KeyBlock {
  using Tiles = KeyTiles<size>;
  std::int64_t token;          // first of the sequence
  std::int32_t const* first;   // of the sequence
  QueryNumber const* numbers;  // of all heads of the sequence
  int kv_head;
  int begin;            // keys
  int tile_begin;       // of the queries that see them
  int tiles;            // that see them, of each head
  int turns;            // tiles of all heads of the group
  Bf16 const* queries;  // of the sequence
  std::int64_t query_stride;
  Bf16 const* douts;  // of the sequence
  std::int64_t dout_stride;

  /// The first warp makes it.
  __device__ KeyBlock(BrainArguments const& args, TileOrder const& order) {
    TileOrder::Place const place = order(blockIdx.x);
    kv_head = static_cast<int>(place.head % static_cast<unsigned>(args.kv_heads));
    token = static_cast<std::int64_t>(place.head / static_cast<unsigned>(args.kv_heads)) * args.sequence;
    numbers = args.numbers + token * args.heads;
    first = args.first == nullptr ? nullptr : args.first + token;
    begin = static_cast<int>(place.rank) * Tiles::keys;  // earlier ones are seen by more queries
    tile_begin = begin / Tiles::queries;
    tiles = seeing_tiles(first, args.sequence, tile_begin, Tiles::queries, begin + Tiles::keys,
                         static_cast<int>(threadIdx.x));
    turns = tiles * args.group;
    queries = args.qkv + token * args.qkv_stride;
    query_stride = args.qkv_stride;
    douts = args.dout + token * args.dout_stride;
    dout_stride = args.dout_stride;
  }

  /// The first query of a turn; turns go over the tiles of one head after another.
  __device__ int query_of(int turn) const { return (tile_begin + turn % tiles) * Tiles::queries; }
  /// Begins to copy a turn's rows of queries, of dout, and numbers; one group of copies.
  __device__ void fetch(BrainArguments const& args, unsigned char* stages, int turn) const {
    unsigned char* const stage = stages + turn % 2 * Tiles::stage_bytes;
    int const head = kv_head * args.group + turn / tiles;
    int const query = query_of(turn);
    int const valid = args.sequence - query;
    int const column = head * size;
    copy_rows_async<size, Tiles::queries, Tiles::threads>(stage, queries + query * query_stride + column, query_stride,
                                                          valid);
    copy_rows_async<size, Tiles::queries, Tiles::threads>(stage + Tiles::tile_bytes,
                                                          douts + query * dout_stride + column, dout_stride, valid);
    int const thread = static_cast<int>(threadIdx.x);
    if (thread < Tiles::queries) {  // zeros beyond the sequence: with rows of zeros they add nothing
      auto* const to = reinterpret_cast<QueryNumber*>(stage + 2 * Tiles::tile_bytes) + thread;
      copy_async_16(to, numbers + static_cast<std::int64_t>(head) * args.sequence + query + thread, thread < valid);
    }
    copy_async_commit();
  }
  /// Begins to copy the block's keys, or its values.
  __device__ void fetch_keys(BrainArguments const& args, unsigned char* to, int column) const {
    copy_rows_async<size, Tiles::keys, Tiles::threads>(to, queries + begin * query_stride + column, query_stride,
                                                       args.sequence - begin);
  }
};

/// Scores (keys, queries) of keys that their queries do not see become -infinity. `numbers`: of the queries, the first
/// of which is `query`; the warp's first key is `key`.
template <int size>
__device__ inline void hide_unseen(typename KeyTiles<size>::Scores& scores, QueryNumber const* numbers, int key,
                                   int query, int lane) {
  using Tiles = KeyTiles<size>;
#pragma unroll
  for (int n = 0; n < Tiles::n_tiles; ++n) {
#pragma unroll
    for (int right = 0; right < 2; ++right) {
      int const column = 8 * n + lane % 4 * 2 + right;
      int const row = key + lane / 4;  // of this lane's first score
      int const last = query + column - row;
      int const lowest_row = numbers[column].lowest - row;
#pragma unroll
      for (int m = 0; m < Tiles::m_tiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int const distance = 16 * m + 8 * half;
          if (distance > last || distance < lowest_row) scores[m][n][2 * half + right] = -INFINITY;
        }
      }
    }
  }
}

/// Scores become weights 2^(scale score - logarithm of the query).
template <int size>
__device__ inline void weigh(typename KeyTiles<size>::Scores& scores, QueryNumber const* numbers, float scale,
                             int lane) {
  using Tiles = KeyTiles<size>;
#pragma unroll
  for (int n = 0; n < Tiles::n_tiles; ++n) {
#pragma unroll
    for (int right = 0; right < 2; ++right) {
      float const logarithm = numbers[8 * n + lane % 4 * 2 + right].logarithm;
#pragma unroll
      for (int m = 0; m < Tiles::m_tiles; ++m) {
#pragma unroll
        for (int i = right; i < 4; i += 2) {
          scores[m][n][i] = exp2_approximate(fmaf(scores[m][n][i], scale, -logarithm));
        }
      }
    }
  }
}

/// products <- weights (products - delta of the query): the gradients of the scores of a slice.
template <int size>
__device__ inline void differentiate(typename KeyTiles<size>::Slice& products,
                                     typename KeyTiles<size>::Scores const& weights, int begin,
                                     QueryNumber const* numbers, int lane) {
#pragma unroll
  for (int n = 0; n < KeyTiles<size>::slice; ++n) {
#pragma unroll
    for (int right = 0; right < 2; ++right) {
      float const delta = numbers[8 * n + lane % 4 * 2 + right].delta;
#pragma unroll
      for (int m = 0; m < KeyTiles<size>::m_tiles; ++m) {
#pragma unroll
        for (int i = right; i < 4; i += 2) products[m][n][i] = weights[m][begin + n][i] * (products[m][n][i] - delta);
      }
    }
  }
}

/// The warp's part of a tile of queries. `keys`: its rows of the keys, the values `block_bytes` further.
template <int size>
__device__ inline void add_tile(typename KeyTiles<size>::Sums& key_sums, typename KeyTiles<size>::Sums& value_sums,
                                unsigned char const* keys, unsigned char const* stage, int key, int query, int sequence,
                                float scale, int lane) {
  using Tiles = KeyTiles<size>;
  auto const* const all_numbers = reinterpret_cast<QueryNumber const*>(stage + 2 * Tiles::tile_bytes);
#pragma unroll 1
  for (int part = 0; part < Tiles::queries; part += Tiles::step) {
    QueryNumber const* const numbers = all_numbers + part;
    int const begin = query + part;
    int const last = min(Tiles::step, sequence - begin) - 1;
    if (last < 0 || begin + last < key || numbers[0].lowest >= key + Tiles::rows) continue;  // none sees any
    bool const masked = key + Tiles::rows - 1 > begin || numbers[last].lowest > key;
    unsigned char const* const queries = stage + Tile<size>::bytes(part);
    unsigned char const* const douts = queries + Tiles::tile_bytes;
    typename Tiles::Scores weights = {};
    add_row_products<size>(weights, keys, queries, lane);
    if (masked) hide_unseen<size>(weights, numbers, key, begin, lane);
    weigh<size>(weights, numbers, scale, lane);
    add_weighted_rows<size>(value_sums, weights, douts, lane);
#pragma unroll
    for (int n = 0; n < Tiles::n_tiles; n += Tiles::slice) {
      typename Tiles::Slice products = {};  // v . dout
      add_row_products<size>(products, keys + Tiles::block_bytes, douts + Tile<size>::bytes(8 * n), lane);
      differentiate<size>(products, weights, n, numbers + 8 * n, lane);
      add_weighted_rows<size>(key_sums, products, queries + Tile<size>::bytes(8 * n), lane);
    }
  }
}

/// dv_k = sum_t w_tk dout_t and dk_k = scale sum_t w_tk (dout_t . v_k - delta_t) q_t with
/// w_tk = exp(scale q_t . k_k - log_sum_exp_t), for 128 keys of one key/value head over the tiles of queries of all
/// heads of its group, one after another; dk turned back by RoPE's angle. Nothing is shared between blocks, so no sum
/// depends on their order.
/// A warp holds scores with keys as rows, which are the left factors of both sums without a way through shared memory.
/// Scores, gradients and sums stay in registers: 254 a thread with heads of 64 (2 blocks of 4 warps an SM), 236 with
/// 128 (one block of 8). Shared memory: keys, values, two stages of 64 queries, their dout and numbers: 74.1 KiB with
/// heads of 64, 138.1 KiB with 128; the next tile travels while one is worked on. Floor: 8 head_size flops for each
/// pair of query and key that is seen, at the rate of mma.sync; with heads of 128 shared memory feeds about 0.6 of
/// that.
template <int size>
__global__ void __launch_bounds__(KeyTiles<size>::threads, KeyTiles<size>::blocks_of_multiprocessor)
    key_gradient_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = KeyTiles<size>;
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const keys = dynamic_shared();  // then values, stages, the block
  unsigned char* const stages = keys + 2 * Tiles::block_bytes;
  auto& block = *reinterpret_cast<KeyBlock<size>*>(stages + 2 * Tiles::stage_bytes);
  if (warp == 0) {
    KeyBlock<size> const made{args, order};
    if (lane == 0) block = made;
  }
  __syncthreads();

  block.fetch_keys(args, keys, args.key_column(block.kv_head));
  block.fetch_keys(args, keys + Tiles::block_bytes, args.value_column(block.kv_head));
  block.fetch(args, stages, 0);

  unsigned char* const own_keys = keys + warp * Tile<size>::bytes(Tiles::rows);
  typename Tiles::Sums key_sums = {};
  typename Tiles::Sums value_sums = {};
  for (int turn = 0; turn < block.turns; ++turn) {
    copy_async_wait<0>();
    __syncthreads();  // this tile is here for all, and the one before is done with
    if (turn + 1 < block.turns) block.fetch(args, stages, turn + 1);
    add_tile<size>(key_sums, value_sums, own_keys, stages + turn % 2 * Tiles::stage_bytes,
                   block.begin + warp * Tiles::rows, block.query_of(turn), args.sequence, args.scale_base2, lane);
  }

  int const key = block.begin + warp * Tiles::rows;
  int const valid = args.sequence - key;
  turn_back(
      args, key_sums, [&](int row) { return key + row - (block.first == nullptr ? 0 : block.first[key + row]); }, valid,
      lane);
  float factor[Tiles::m_tiles][2];
#pragma unroll
  for (auto& halves : factor) halves[0] = halves[1] = args.scale;
  Bf16* const rows = args.dqkv + (block.token + key) * args.dqkv_stride;
  store_rows<size>(key_sums, factor, own_keys, rows + args.key_column(block.kv_head), args.dqkv_stride, valid, lane);
#pragma unroll
  for (auto& halves : factor) halves[0] = halves[1] = 1;
  store_rows<size>(value_sums, factor, own_keys + Tiles::block_bytes, rows + args.value_column(block.kv_head),
                   args.dqkv_stride, valid, lane);
}

template <int size>
constexpr std::size_t shared_bytes = 2 * KeyTiles<size>::block_bytes + 2 * KeyTiles<size>::stage_bytes +
                                     sizeof(KeyBlock<size>);

template <int size>
void launch_key_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  using Tiles = KeyTiles<size>;
  TileOrder const order = tile_order(shape.batch * shape.kv_heads, groups_of(Tiles::keys, shape.sequence), 1,
                                     shape.sequence * size * 4 * args.group);
  launch(key_gradient_kernel<size>, dim3{order.heads * order.tiles}, dim3{Tiles::threads}, shared_bytes<size>,
         context.stream, args, order);
}

}  // namespace

void attention_key_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_key_gradient<64>(context, shape, args)
                        : launch_key_gradient<128>(context, shape, args);
}

std::size_t attention_tensor_backward_shared(std::int64_t head_size) {
  return head_size == 64 ? shared_bytes<64> : shared_bytes<128>;  // queries' gradients take less
}

void attention_tensor_backward(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_numbers<Bf16, 8, 8>(context, shape, args)
                        : launch_numbers<Bf16, 8, 16>(context, shape, args);
  attention_key_gradient(context, shape, args);
  attention_query_gradient(context, shape, args);
}

}  // namespace jreg::backend::cuda
