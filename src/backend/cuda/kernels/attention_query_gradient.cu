#include "backend/cuda/kernels/attention_queries.cuh"
#include "backend/cuda/kernels/attention_turn.cuh"

namespace jreg::backend::cuda {

namespace {

template <int size>
inline constexpr std::size_t query_gradient_bytes = 2 * QueryTiles<size>::block_bytes +
                                                    2 * QueryTiles<size>::stage_bytes +
                                                    QueryTiles<size>::queries * sizeof(QueryNumber) +
                                                    sizeof(QueryBlock<size>);

/// Scores become weights: w = 2^(scale score - logarithm) of the query. `numbers`: this lane's first query's.
template <int m_tiles, int n_tiles>
__device__ inline void weigh(float (&scores)[m_tiles][n_tiles][4], QueryNumber const* numbers, float scale) {
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float const logarithm = numbers[16 * m + 8 * half].logarithm;
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[m][n][i] = exp2_approximate(fmaf(scores[m][n][i], scale, -logarithm));
        }
      }
    }
  }
}

/// weights <- weights (products - delta of the query): the gradients of the scores.
template <int m_tiles, int n_tiles>
__device__ inline void differentiate(float (&weights)[m_tiles][n_tiles][4],
                                     float const (&products)[m_tiles][n_tiles][4], QueryNumber const* numbers) {
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float const delta = numbers[16 * m + 8 * half].delta;
#pragma unroll
      for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) weights[m][n][i] *= products[m][n][i] - delta;
      }
    }
  }
}

/// dq_t = scale sum_k w_tk (dout_t . v_k - delta_t) k_k with w_tk = exp(scale q_t . k_k - log_sum_exp_t), for 128
/// queries of one head over tiles of keys, turned back by RoPE's angle; nothing is shared between blocks, so no sum
/// depends on their order.
/// 4 warps of 32 queries; scores, gradients and sums stay in registers: 192 a thread with heads of 64, 249 with 128 (2
/// blocks an SM). Shared memory: queries, dout, two stages of keys and values: 74.1 KiB with heads of 64, 104.1 KiB
/// with 128 (one block on an A100). Floor: 6 head_size flops for each pair of query and key that is seen, at the rate
/// of mma.sync.
template <int size>
__global__ void __launch_bounds__(QueryTiles<size>::threads, 2)
    query_gradient_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = QueryTiles<size>;
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const queries = dynamic_shared();  // then dout, stages, numbers
  unsigned char* const stages = queries + 2 * Tiles::block_bytes;
  auto* const numbers = reinterpret_cast<QueryNumber*>(stages + 2 * Tiles::stage_bytes);
  auto const& block = share_block<QueryBlock<size>>(numbers + Tiles::queries, args, order);
  block.fetch_queries(queries, args.qkv + block.token * args.qkv_stride, args.qkv_stride);
  block.fetch_queries(queries + Tiles::block_bytes, args.dout + block.token * args.dout_stride, args.dout_stride);
  copy_async_16(numbers + thread,
                args.numbers + static_cast<std::int64_t>(block.row) * args.sequence + block.begin + thread,
                block.begin + thread < args.sequence);
  block.fetch(args, stages, block.key_begin);
  unsigned char* const own_queries = queries + warp * Tile<size>::bytes(Tiles::rows);
  int const query = block.begin + warp * Tiles::rows;
  QueryNumber const* const own_numbers = numbers + warp * Tiles::rows + lane / 4;
  auto const lowest_of = [own = numbers + warp * Tiles::rows](int row) { return own[row].lowest; };
  typename Tiles::Sums sums = {};
  int stage = 0;
  for (int tile = block.key_begin; tile < block.end; tile += Tiles::keys, stage ^= 1) {
    copy_async_wait<0>();
    __syncthreads();  // this tile is here for all, and the one before is done with
    int const next = tile + Tiles::keys;
    if (next < block.end) block.fetch(args, stages + (stage ^ 1) * Tiles::stage_bytes, next);
#pragma unroll 1
    for (int part = 0; part < Tiles::keys; part += Tiles::step) {
      unsigned char const* const keys = stages + stage * Tiles::stage_bytes + Tile<size>::bytes(part);
      typename Tiles::Scores weights = {};
      bool const seen =
          make_scores<size>(weights, own_queries, keys, lowest_of, query, tile + part, args.sequence, lane);
      if (!seen) continue;
      weigh(weights, own_numbers, args.scale_base2);
      typename Tiles::Scores products = {};  // dout . v
      add_row_products<size>(products, own_queries + Tiles::block_bytes, keys + Tiles::tile_bytes, lane);
      differentiate(weights, products, own_numbers);
      add_weighted_rows<size>(sums, weights, keys, lane);
    }
  }

  turn_back(
      args, sums, [&](int row) { return query + row - lowest_of(row); }, args.sequence - query, lane);
  float factor[Tiles::m_tiles][2];
#pragma unroll
  for (auto& halves : factor) halves[0] = halves[1] = args.scale;
  Bf16* const to = args.dqkv + (block.token + query) * args.dqkv_stride + block.head * size;
  store_rows<size>(sums, factor, own_queries, to, args.dqkv_stride, args.sequence - query, lane);
}

}  // namespace

void attention_query_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64
      ? launch_queries<64>(context, shape, args, query_gradient_bytes<64>, query_gradient_kernel<64>)
      : launch_queries<128>(context, shape, args, query_gradient_bytes<128>, query_gradient_kernel<128>);
}

}  // namespace jreg::backend::cuda
