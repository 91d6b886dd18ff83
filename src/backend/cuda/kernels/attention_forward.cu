#include <cmath>

#include "backend/cuda/kernels/attention_queries.cuh"

namespace jreg::backend::cuda {

namespace {

template <int size>
inline constexpr std::size_t forward_bytes = QueryTiles<size>::block_bytes + 2 * QueryTiles<size>::stage_bytes +
                                             QueryTiles<size>::queries * sizeof(int) + sizeof(QueryBlock<size>);

/// The running softmax of a warp's queries, in base 2.
template <int size> struct RunningSoftmax {
  using Tiles = QueryTiles<size>;
  static constexpr int m_tiles = Tiles::m_tiles;
  typename Tiles::Sums sums = {};  // of weighted values
  float maximum[m_tiles][2];       // of the scores, not scaled; the same in the four lanes of a query
  float total[m_tiles][2] = {};    // of the weights that this lane made

  __device__ RunningSoftmax() {
#pragma unroll
    for (auto& halves : maximum) halves[0] = halves[1] = -INFINITY;
  }

  /// Scores become weights relative to the new maximum of their query, and what was summed before is scaled to it.
  __device__ void weigh(typename Tiles::Scores& scores, float scale) {
    float correction[m_tiles][2];
    bool corrects = false;
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        correction[m][half] = weigh_query(scores[m], 2 * half, maximum[m][half], total[m][half], scale);
        corrects = corrects || correction[m][half] != 1.0F;
      }
    }
    if (__ballot_sync(whole_warp, corrects) == 0) return;  // most of the time, once the largest scores were met
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
      for (int n = 0; n < size / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] *= correction[m][i / 2];
      }
    }
  }

  /// Of one query, whose scores are elements i and i + 1 of each n; returns what scales its older sums.
  static __device__ float weigh_query(float (&scores)[Tiles::n_tiles][4], int i, float& maximum, float& total,
                                      float scale) {
    float largest = maximum;
#pragma unroll
    for (int n = 0; n < Tiles::n_tiles; ++n) largest = fmaxf(largest, fmaxf(scores[n][i], scores[n][i + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 2));
    float const base = largest == -INFINITY ? 0.0F : largest * scale;  // no key of this query yet: all weights are 0
    float const correction = exp2_approximate(fmaf(maximum, scale, -base));
    maximum = largest;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < Tiles::n_tiles; ++n) {
      scores[n][i] = exp2_approximate(fmaf(scores[n][i], scale, -base));
      scores[n][i + 1] = exp2_approximate(fmaf(scores[n][i + 1], scale, -base));
      sum += scores[n][i] + scores[n][i + 1];
    }
    total = fmaf(total, correction, sum);
    return correction;
  }
};

/// Writes a warp's output and logarithms; its queries begin at `query`, `staging` is its part of their tile.
template <int size>
__device__ inline void finish(RunningSoftmax<size> const& softmax, BrainArguments const& args,
                              QueryBlock<size> const& block, unsigned char* staging, int query, int lane) {
  using Tiles = QueryTiles<size>;
  float inverse[Tiles::m_tiles][2];
#pragma unroll
  for (int m = 0; m < Tiles::m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = softmax.total[m][half];
      total += __shfl_xor_sync(whole_warp, total, 1);
      total += __shfl_xor_sync(whole_warp, total, 2);
      inverse[m][half] = 1.0F / total;
      int const own = query + 16 * m + 8 * half + lane / 4;
      if (lane % 4 == 0 && own < args.sequence) {
        args.log_sum_exp[block.row * args.log_sum_exp_stride + own] =
            fmaf(softmax.maximum[m][half], args.scale, logf(total));
      }
    }
  }
  Bf16* const out = args.out + (block.token + query) * args.out_stride + block.head * size;
  store_rows<size>(softmax.sums, inverse, staging, out, args.out_stride, args.sequence - query, lane);
}

/// Causal attention of 128 queries of one head with an online softmax (Dao, arXiv 2307.08691):
///   out = sum_k exp(s_k - max) v_k / sum_k exp(s_k - max),  log_sum_exp = max + log(sum_k exp(s_k - max)).
/// 4 warps of 32 queries; scores, weights and sums stay in registers: 162 a thread with heads of 64 (3 blocks an SM, by
/// registers; 2 on an A100, by shared memory), 238 with 128 (2 blocks). Shared memory: queries, two stages of keys and
/// values: 54.6 KiB with heads of 64, 68.6 KiB with 128.
/// Floor: 4 head_size flops for each pair of query and key that is seen, at the rate of mma.sync (about 0.62 of an
/// H100's peak); 2 (heads + 2 kv_heads) head_size bytes read and 2 heads head_size written a token, where L2 keeps
/// keys.
template <int size>
__global__ void __launch_bounds__(QueryTiles<size>::threads, size == 64 ? 3 : 2)
    forward_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = QueryTiles<size>;
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const queries = dynamic_shared();
  unsigned char* const stages = queries + Tiles::block_bytes;
  int* const lowest = reinterpret_cast<int*>(stages + 2 * Tiles::stage_bytes);  // first key that a query sees
  auto const& block = share_block<QueryBlock<size>>(lowest + Tiles::queries, args, order);
  block.fetch_queries(queries, args.qkv + block.token * args.qkv_stride, args.qkv_stride);
  block.fetch(args, stages, block.key_begin);
  lowest[thread] = block.lowest(min(block.begin + thread, args.sequence - 1));

  unsigned char* const own_queries = queries + warp * Tile<size>::bytes(Tiles::rows);
  int const query = block.begin + warp * Tiles::rows;
  auto const lowest_of = [own = lowest + warp * Tiles::rows](int row) { return own[row]; };
  RunningSoftmax<size> softmax;
  int stage = 0;
  for (int tile = block.key_begin; tile < block.end; tile += Tiles::keys, stage ^= 1) {
    copy_async_wait<0>();
    __syncthreads();  // this tile is here for all, and the one before is done with
    int const next = tile + Tiles::keys;
    if (next < block.end) block.fetch(args, stages + (stage ^ 1) * Tiles::stage_bytes, next);
#pragma unroll 1
    for (int part = 0; part < Tiles::keys; part += Tiles::step) {
      unsigned char const* const keys = stages + stage * Tiles::stage_bytes + Tile<size>::bytes(part);
      typename Tiles::Scores scores = {};
      bool const seen =
          make_scores<size>(scores, own_queries, keys, lowest_of, query, tile + part, args.sequence, lane);
      if (!seen) continue;
      softmax.weigh(scores, args.scale_base2);
      add_weighted_rows<size>(softmax.sums, scores, keys + Tiles::tile_bytes, lane);
    }
  }
  finish(softmax, args, block, own_queries, query, lane);
}

}  // namespace

void attention_tensor_forward(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_queries<64>(context, shape, args, forward_bytes<64>, forward_kernel<64>)
                        : launch_queries<128>(context, shape, args, forward_bytes<128>, forward_kernel<128>);
}

}  // namespace jreg::backend::cuda
