#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/attention_delta.cuh"
#include "backend/cuda/kernels/attention_numbers.cuh"
#include "backend/cuda/kernels/attention_tile.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

/// Heads of 64: 4 warps of 32 keys, two blocks an SM. Heads of 128: the sums of 32 keys would not fit the registers of
/// a warp, so 8 warps of 16 keys, one block.
template <int size> struct KeyGradientTiles {
  static constexpr int m_tiles = size == 64 ? 2 : 1;  // of a warp, 16 keys each
  static constexpr int warps = size == 64 ? 4 : 8;
  static constexpr int threads = warps * warp_size;
  static constexpr int rows = 16 * m_tiles;          // keys of a warp
  static constexpr int keys = rows * warps;          // of a block
  static constexpr int queries = 64;                 // of a tile
  static constexpr int step = 32;                    // queries whose scores are in registers
  static constexpr int blocks = size == 64 ? 2 : 1;  // of an SM
  static constexpr int stage_bytes = 2 * Tile<size>::bytes(queries) + static_cast<int>(sizeof(QueryNumbers<queries>));
  static constexpr std::size_t shared_bytes = Tile<size>::bytes(2 * keys) + 2 * stage_bytes;
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

/// dv_k = sum_t w_tk dout_t and dk_k = scale sum_t w_tk (dout_t . v_k - delta_t) q_t with
/// w_tk = exp(scale q_t . k_k - log_sum_exp_t), for 128 keys of one key/value head over the tiles of queries of all
/// heads of its group, one after another: nothing is shared between blocks, so no sum depends on their order.
/// A warp holds scores with keys as rows, which are the left factors of both sums without a way through shared memory.
/// Registers: sums, scores and their gradients, at most 255 (8 warps an SM). Shared memory: keys, values, two stages of
/// queries and dout: 65.5 KB with heads of 64, 129.5 KB with 128; the next tile travels while this one is worked on.
/// Floor: 8 head_size flops for each pair of query and key that is seen, at the rate of mma.sync.
template <int size>
__global__ void __launch_bounds__(KeyGradientTiles<size>::threads, KeyGradientTiles<size>::blocks)
    key_gradient_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = KeyGradientTiles<size>;
  using Layout = Tile<size>;
  using Numbers = QueryNumbers<Tiles::queries>;
  constexpr int m_tiles = Tiles::m_tiles;
  constexpr int n_tiles = Tiles::step / 8;
  constexpr int tile_bytes = Layout::bytes(Tiles::queries);
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const key_tile = dynamic_shared();
  unsigned char* const value_tile = key_tile + Layout::bytes(Tiles::keys);
  unsigned char* const stages = value_tile + Layout::bytes(Tiles::keys);  // queries, dout, numbers; twice
  unsigned char* const own_keys = key_tile + warp * Layout::bytes(Tiles::rows);
  unsigned char* const own_values = value_tile + warp * Layout::bytes(Tiles::rows);

  TileOrder::Place const place = order(blockIdx.x);
  int const key_begin = static_cast<int>(place.rank) * Tiles::keys;  // earlier ones are seen by more queries
  int const kv_head = static_cast<int>(place.head) % args.kv_heads;
  std::int64_t const batch = place.head / static_cast<unsigned>(args.kv_heads);
  std::int64_t const token = batch * args.sequence;
  std::int32_t const* const first = args.first == nullptr ? nullptr : args.first + token;
  Bf16 const* const rows = args.qkv + token * args.qkv_stride;
  Bf16 const* const dout_rows = args.dout + token * args.dout_stride;

  int const tile_begin = key_begin / Tiles::queries;
  int const tile_end =
      tile_begin + seeing_tiles(first, args.sequence, tile_begin, Tiles::queries, key_begin + Tiles::keys, lane);
  int const head_end = (kv_head + 1) * args.group;

  auto const fetch_rows = [&](int head, int tile, int stage) {
    unsigned char* const queries = stages + stage * Tiles::stage_bytes;
    int const query = tile * Tiles::queries;
    copy_rows_async<size, Tiles::queries, Tiles::threads>(queries, rows + query * args.qkv_stride + head * size,
                                                          args.qkv_stride, args.sequence - query);
    copy_rows_async<size, Tiles::queries, Tiles::threads>(queries + tile_bytes,
                                                          dout_rows + query * args.dout_stride + head * size,
                                                          args.dout_stride, args.sequence - query);
    copy_async_commit();
  };
  auto const numbers_of = [&](int stage) {
    return reinterpret_cast<Numbers*>(stages + stage * Tiles::stage_bytes + 2 * tile_bytes);
  };
  auto const number_of = [&](int head, int tile) {
    if (thread >= Tiles::queries) return QueryNumber{};
    return load_number(args, batch * args.heads + head, first, tile * Tiles::queries + thread);
  };

  copy_rows_async<size, Tiles::keys, Tiles::threads>(key_tile,
                                                     rows + key_begin * args.qkv_stride + args.key_column(kv_head),
                                                     args.qkv_stride, args.sequence - key_begin);
  copy_rows_async<size, Tiles::keys, Tiles::threads>(value_tile,
                                                     rows + key_begin * args.qkv_stride + args.value_column(kv_head),
                                                     args.qkv_stride, args.sequence - key_begin);
  int head = kv_head * args.group;
  int tile = tile_begin;
  fetch_rows(head, tile, 0);
  numbers_of(0)->keep(thread, number_of(head, tile));

  int const own_begin = key_begin + warp * Tiles::rows;
  float const scale = args.scale * log2_of_e;
  float key_sums[m_tiles][size / 8][4] = {};
  float value_sums[m_tiles][size / 8][4] = {};
  for (int stage = 0; head < head_end; stage ^= 1) {
    copy_async_wait<0>();
    __syncthreads();  // this tile is here for all, and the one before is done with
    int const query_begin = tile * Tiles::queries;
    if (++tile == tile_end) {
      tile = tile_begin;
      ++head;
    }
    QueryNumber next{};
    if (head < head_end) {
      fetch_rows(head, tile, stage ^ 1);
      next = number_of(head, tile);
    }
    Numbers const& numbers = *numbers_of(stage);
#pragma unroll 1
    for (int part = 0; part < Tiles::queries; part += Tiles::step) {
      int const query = query_begin + part;
      if (query + Tiles::step <= own_begin || numbers.lowest[part] >= own_begin + Tiles::rows) continue;
      bool const masked = own_begin + Tiles::rows - 1 > query || numbers.lowest[part + Tiles::step - 1] > own_begin;
      unsigned char const* const queries = stages + stage * Tiles::stage_bytes + Layout::bytes(part);
      unsigned char const* const douts = queries + tile_bytes;
      float weights[m_tiles][n_tiles][4] = {};
      add_row_products<size>(weights, own_keys, queries, lane);
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
        for (int right = 0; right < 2; ++right) {
          int const column = part + 8 * n + lane % 4 * 2 + right;
          float const logarithm = numbers.logarithm[column];
          int const last = query_begin + column - own_begin - lane / 4;  // row of the last key that the query sees
          int const lowest = masked ? numbers.lowest[column] - own_begin - lane / 4 : 0;
#pragma unroll
          for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              float& weight = weights[m][n][2 * half + right];
              weight = exp2_approximate(fmaf(weight, scale, -logarithm));
              int const row = 16 * m + 8 * half;
              if (masked && (row > last || row < lowest)) weight = 0;
            }
          }
        }
      }
      add_weighted_rows<size>(value_sums, weights, douts, lane);
      float gradients[m_tiles][n_tiles][4] = {};  // of the scores
      add_row_products<size>(gradients, own_values, douts, lane);
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
        for (int right = 0; right < 2; ++right) {
          float const delta = numbers.delta[part + 8 * n + lane % 4 * 2 + right];
#pragma unroll
          for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              int const i = 2 * half + right;
              gradients[m][n][i] = weights[m][n][i] * (gradients[m][n][i] - delta);
            }
          }
        }
      }
      add_weighted_rows<size>(key_sums, gradients, queries, lane);
    }
    if (head < head_end) numbers_of(stage ^ 1)->keep(thread, next);
  }

  float factor[m_tiles][2];
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) factor[m][0] = factor[m][1] = args.scale;
  Bf16* const gradient_rows = args.dqkv + (token + own_begin) * args.dqkv_stride;
  int const valid = args.sequence - own_begin;
  store_rows<size>(key_sums, factor, own_keys, gradient_rows + args.key_column(kv_head), args.dqkv_stride, valid, lane);
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) factor[m][0] = factor[m][1] = 1;
  store_rows<size>(value_sums, factor, own_values, gradient_rows + args.value_column(kv_head), args.dqkv_stride, valid,
                   lane);
}

template <int size>
void launch_key_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  using Tiles = KeyGradientTiles<size>;
  TileOrder const order = tile_order(shape.batch * shape.kv_heads, groups_of(Tiles::keys, shape.sequence), 1,
                                     shape.sequence * size * 4 * args.group);
  launch(key_gradient_kernel<size>, dim3{order.heads * order.tiles}, dim3{Tiles::threads}, Tiles::shared_bytes,
         context.stream, args, order);
}

}  // namespace

void attention_key_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_key_gradient<64>(context, shape, args)
                        : launch_key_gradient<128>(context, shape, args);
}

void attention_tensor_backward(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_delta<Bf16, 8, 8>(context, shape, args)
                        : launch_delta<Bf16, 8, 16>(context, shape, args);
  attention_key_gradient(context, shape, args);
  attention_query_gradient(context, shape, args);
}

}  // namespace jreg::backend::cuda
