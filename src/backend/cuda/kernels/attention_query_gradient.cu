#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/attention_numbers.cuh"
#include "backend/cuda/kernels/attention_tile.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

template <int size> struct QueryGradientTiles {
  static constexpr int m_tiles = 2;  // of a warp, 16 queries each
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int rows = 16 * m_tiles;          // queries of a warp
  static constexpr int queries = rows * warps;       // of a block
  static constexpr int keys = 4096 / size;           // of a tile: 64 or 32
  static constexpr int step = 32;                    // keys whose scores are in registers
  static constexpr int blocks = size == 64 ? 3 : 2;  // of an SM with 228 KB
  static constexpr std::size_t shared_bytes = Tile<size>::bytes(2 * queries + 4 * keys) + sizeof(QueryNumbers<queries>);
};

/// dq_t = scale sum_k w_tk (dout_t . v_k - delta_t) k_k with w_tk = exp(scale q_t . k_k - log_sum_exp_t), for 128
/// queries of one head over tiles of keys; nothing is shared between blocks, so no sum depends on their order.
/// 4 warps of 32 queries; scores and gradients in registers (at most 168 with heads of 64: 3 blocks an SM; 255 with
/// 128: 2). Shared memory: queries, dout, two stages of keys and values: 64 or 96 KB; the next tile travels while this
/// one is worked on. Floor: 6 head_size flops for each pair of query and key that is seen, at the rate of mma.sync.
template <int size>
__global__ void __launch_bounds__(QueryGradientTiles<size>::threads, QueryGradientTiles<size>::blocks)
    query_gradient_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = QueryGradientTiles<size>;
  using Layout = Tile<size>;
  constexpr int m_tiles = Tiles::m_tiles;
  constexpr int n_tiles = Tiles::step / 8;
  constexpr int tile_bytes = Layout::bytes(Tiles::keys);
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const query_tile = dynamic_shared();
  unsigned char* const dout_tile = query_tile + Layout::bytes(Tiles::queries);
  unsigned char* const stages = dout_tile + Layout::bytes(Tiles::queries);  // keys, values, keys, values
  auto& numbers = *reinterpret_cast<QueryNumbers<Tiles::queries>*>(stages + 4 * tile_bytes);
  unsigned char* const own_queries = query_tile + warp * Layout::bytes(Tiles::rows);
  unsigned char* const own_douts = dout_tile + warp * Layout::bytes(Tiles::rows);

  TileOrder::Place const place = order(blockIdx.x);
  int const query_begin = static_cast<int>(order.tiles - 1 - place.rank) * Tiles::queries;  // later ones see more keys
  int const head = static_cast<int>(place.head) % args.heads;
  std::int64_t const token = static_cast<std::int64_t>(place.head / static_cast<unsigned>(args.heads)) * args.sequence;
  std::int32_t const* const first = args.first == nullptr ? nullptr : args.first + token;
  Bf16 const* const rows = args.qkv + token * args.qkv_stride;
  Bf16 const* const key_rows = rows + args.key_column(head / args.group);
  int const to_values = args.kv_heads * size;  // from a key head to its value head
  int const query_end = min(query_begin + Tiles::queries, args.sequence);
  int const key_begin = first == nullptr ? 0 : first[query_begin] / Tiles::keys * Tiles::keys;

  auto const fetch = [&](int key, int stage) {
    unsigned char* const keys = stages + 2 * stage * tile_bytes;
    int const valid = args.sequence - key;
    copy_rows_async<size, Tiles::keys, Tiles::threads>(keys, key_rows + key * args.qkv_stride, args.qkv_stride, valid);
    copy_rows_async<size, Tiles::keys, Tiles::threads>(keys + tile_bytes, key_rows + key * args.qkv_stride + to_values,
                                                       args.qkv_stride, valid);
    copy_async_commit();
  };
  copy_rows_async<size, Tiles::queries, Tiles::threads>(query_tile, rows + query_begin * args.qkv_stride + head * size,
                                                        args.qkv_stride, query_end - query_begin);
  copy_rows_async<size, Tiles::queries, Tiles::threads>(
      dout_tile, args.dout + (token + query_begin) * args.dout_stride + head * size, args.dout_stride,
      query_end - query_begin);
  fetch(key_begin, 0);
  static_assert(Tiles::threads == Tiles::queries);
  numbers.keep(thread, load_number(args, place.head, first, query_begin + thread));

  // Of the warp: its queries, and the keys that all of them and that any of them may see.
  int const own_begin = query_begin + warp * Tiles::rows;
  int const own_last = own_begin < args.sequence ? min(own_begin + Tiles::rows, args.sequence) - 1 : -1;
  int const lowest_of_all = first == nullptr || own_last < 0 ? 0 : first[own_last];
  int const lowest_of_any = first == nullptr || own_last < 0 ? 0 : first[own_begin];
  int const own_row = warp * Tiles::rows + lane / 4;  // of the block's queries
  float const scale = args.scale * log2_of_e;
  float sums[m_tiles][size / 8][4] = {};
  int stage = 0;
  for (int tile = key_begin; tile < query_end; tile += Tiles::keys, stage ^= 1) {
    copy_async_wait<0>();
    __syncthreads();  // this tile is here for all, and the one before is done with
    if (tile + Tiles::keys < query_end) fetch(tile + Tiles::keys, stage ^ 1);
#pragma unroll 1
    for (int part = 0; part < Tiles::keys; part += Tiles::step) {
      int const key = tile + part;
      if (key > own_last || key + Tiles::step <= lowest_of_any) continue;
      unsigned char const* const keys = stages + 2 * stage * tile_bytes + Layout::bytes(part);
      float weights[m_tiles][n_tiles][4] = {};
      add_row_products<size>(weights, own_queries, keys, lane);
      bool const masked = key + Tiles::step - 1 > own_begin || key < lowest_of_all;
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int const row = own_row + 16 * m + 8 * half;
          float const logarithm = numbers.logarithm[row];
          int const last = query_begin + row - key - lane % 4 * 2;
          int const lowest = masked ? numbers.lowest[row] - key - lane % 4 * 2 : 0;
#pragma unroll
          for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
            for (int right = 0; right < 2; ++right) {
              float& weight = weights[m][n][2 * half + right];
              weight = exp2_approximate(fmaf(weight, scale, -logarithm));
              int const column = 8 * n + right;
              if (masked && (column > last || column < lowest)) weight = 0;
            }
          }
        }
      }
      float gradients[m_tiles][n_tiles][4] = {};  // of the scores
      add_row_products<size>(gradients, own_douts, keys + tile_bytes, lane);
#pragma unroll
      for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float const delta = numbers.delta[own_row + 16 * m + 8 * half];
#pragma unroll
          for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
              gradients[m][n][i] = weights[m][n][i] * (gradients[m][n][i] - delta);
            }
          }
        }
      }
      add_weighted_rows<size>(sums, gradients, keys, lane);
    }
  }

  float factor[m_tiles][2];
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) factor[m][0] = factor[m][1] = args.scale;
  store_rows<size>(sums, factor, own_queries, args.dqkv + (token + own_begin) * args.dqkv_stride + head * size,
                   args.dqkv_stride, args.sequence - own_begin, lane);
}

template <int size>
void launch_query_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  using Tiles = QueryGradientTiles<size>;
  TileOrder const order = tile_order(shape.batch * shape.heads, groups_of(Tiles::queries, shape.sequence), args.group,
                                     shape.sequence * size * 4 / args.group);
  launch(query_gradient_kernel<size>, dim3{order.heads * order.tiles}, dim3{Tiles::threads}, Tiles::shared_bytes,
         context.stream, args, order);
}

}  // namespace

void attention_query_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_query_gradient<64>(context, shape, args)
                        : launch_query_gradient<128>(context, shape, args);
}

}  // namespace jreg::backend::cuda
