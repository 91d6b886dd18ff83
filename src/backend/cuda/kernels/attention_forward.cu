#include <cmath>

#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/attention_tile.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

/// Tiles of the forward pass. Four warps of 32 queries each read every key and value twice as often from registers as
/// eight warps of 16 would: on an H100 shared memory could not feed those.
template <int head_size> struct ForwardTiles {
  static constexpr int m_tiles = 2;  // of a warp, 16 queries each
  static constexpr int warps = 4;
  static constexpr int threads = warps * warp_size;
  static constexpr int rows = 16 * m_tiles;     // queries of a warp
  static constexpr int queries = rows * warps;  // of a block
  static constexpr int keys = 64;
  static constexpr std::size_t shared_bytes = Tile<head_size>::bytes(queries + 2 * keys) + queries * sizeof(int);
};

/// The running softmax of a warp's rows, in base 2.
template <int head_size> struct RunningSoftmax {
  static constexpr int m_tiles = ForwardTiles<head_size>::m_tiles;
  static constexpr int n_tiles = ForwardTiles<head_size>::keys / 8;
  float sums[m_tiles][head_size / 8][4];  // of weighted values
  float maximum[m_tiles][2];              // of the scores, not scaled; the same in the four lanes of a row
  float total[m_tiles][2];                // of the weights that this lane made

  __device__ void begin() {
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
      for (int n = 0; n < head_size / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] = 0;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        maximum[m][half] = -INFINITY;
        total[m][half] = 0;
      }
    }
  }

  /// Scores become weights relative to the new maximum of their row, and what was summed before is scaled to it.
  __device__ void weigh(float (&scores)[m_tiles][n_tiles][4], float scale) {
#pragma unroll
    for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = maximum[m][half];
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) {
          largest = fmaxf(largest, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
        }
        largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(whole_warp, largest, 2));
        float const base = largest == -INFINITY ? 0.0F : largest * scale;  // no key of this row yet: all weights are 0
        float const correction = exp2_approximate(fmaf(maximum[m][half], scale, -base));
        maximum[m][half] = largest;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < n_tiles; ++n) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            scores[m][n][i] = exp2_approximate(fmaf(scores[m][n][i], scale, -base));
            sum += scores[m][n][i];
          }
        }
        total[m][half] = fmaf(total[m][half], correction, sum);
#pragma unroll
        for (int n = 0; n < head_size / 8; ++n) {
          sums[m][n][2 * half] *= correction;
          sums[m][n][2 * half + 1] *= correction;
        }
      }
    }
  }
};

/// Causal attention of 128 queries of one head, over tiles of 64 keys, with an online softmax (Dao, arXiv 2307.08691):
///   out = sum_k exp(s_k - max) v_k / sum_k exp(s_k - max),  log_sum_exp = max + log(sum_k exp(s_k - max)).
/// 4 warps of 32 queries; scores, weights and sums stay in registers (at most 255: 8 warps an SM, two blocks). Shared
/// memory: queries, one tile of keys, one of values: 32 KB with heads of 64, 64 KB with 128. Keys of the next tile
/// travel while this one's values are summed, values while its scores are made; the other block fills the rest.
/// Floor: 4 head_size flops for each pair of query and key that is seen, at the rate of mma.sync (about 0.62 of an
/// H100's peak); 2 (heads + kv_heads) head_size bytes read and 2 heads head_size written a token, if L2 keeps keys.
template <int head_size>
__global__ void __launch_bounds__(ForwardTiles<head_size>::threads, 2)
    forward_kernel(BrainArguments const args, TileOrder const order) {
  using Tiles = ForwardTiles<head_size>;
  using Layout = Tile<head_size>;
  int const thread = static_cast<int>(threadIdx.x);
  int const lane = thread % warp_size;
  int const warp = thread / warp_size;
  unsigned char* const query_tile = dynamic_shared();
  unsigned char* const key_tile = query_tile + Layout::bytes(Tiles::queries);
  unsigned char* const value_tile = key_tile + Layout::bytes(Tiles::keys);
  int* const lowest_keys = reinterpret_cast<int*>(value_tile + Layout::bytes(Tiles::keys));  // that each query sees
  unsigned char* const own_queries = query_tile + warp * Layout::bytes(Tiles::rows);

  TileOrder::Place const place = order(blockIdx.x);
  int const query_begin = static_cast<int>(order.tiles - 1 - place.rank) * Tiles::queries;  // later ones see more keys
  int const head = static_cast<int>(place.head) % args.heads;
  std::int64_t const token = static_cast<std::int64_t>(place.head / static_cast<unsigned>(args.heads)) * args.sequence;
  std::int32_t const* const first = args.first == nullptr ? nullptr : args.first + token;
  Bf16 const* const rows = args.qkv + token * args.qkv_stride;
  Bf16 const* const key_rows = rows + args.key_column(head / args.group);
  int const to_values = args.kv_heads * head_size;  // from a key head to its value head
  int const query_end = min(query_begin + Tiles::queries, args.sequence);
  int const key_begin = first == nullptr ? 0 : first[query_begin] / Tiles::keys * Tiles::keys;

  copy_rows_async<head_size, Tiles::queries, Tiles::threads>(
      query_tile, rows + query_begin * args.qkv_stride + head * head_size, args.qkv_stride, query_end - query_begin);
  copy_rows_async<head_size, Tiles::keys, Tiles::threads>(key_tile, key_rows + key_begin * args.qkv_stride,
                                                          args.qkv_stride, args.sequence - key_begin);
  copy_async_commit();

  static_assert(Tiles::threads == Tiles::queries);
  lowest_keys[thread] = first == nullptr ? 0 : first[min(query_begin + thread, args.sequence - 1)];

  // Of the warp: its queries, and the keys that all of them and that any of them may see.
  int const own_begin = query_begin + warp * Tiles::rows;
  int const own_last = own_begin < args.sequence ? min(own_begin + Tiles::rows, args.sequence) - 1 : -1;
  int const lowest_of_all = first == nullptr || own_last < 0 ? 0 : first[own_last];
  int const lowest_of_any = first == nullptr || own_last < 0 ? 0 : first[own_begin];
  float const scale = args.scale * log2_of_e;
  RunningSoftmax<head_size> softmax;
  softmax.begin();
  for (int key = key_begin; key < query_end; key += Tiles::keys) {
    bool const seen = key <= own_last && key + Tiles::keys > lowest_of_any;
    copy_async_wait<0>();
    __syncthreads();  // the keys are here for all, and the values of the tile before are done with
    copy_rows_async<head_size, Tiles::keys, Tiles::threads>(value_tile, key_rows + key * args.qkv_stride + to_values,
                                                            args.qkv_stride, args.sequence - key);
    copy_async_commit();
    float scores[Tiles::m_tiles][Tiles::keys / 8][4] = {};
    if (seen) add_row_products<head_size>(scores, own_queries, key_tile, lane);
    copy_async_wait<0>();
    __syncthreads();  // the values are here for all, and the keys are done with
    int const next = key + Tiles::keys;
    if (next < query_end) {
      copy_rows_async<head_size, Tiles::keys, Tiles::threads>(key_tile, key_rows + next * args.qkv_stride,
                                                              args.qkv_stride, args.sequence - next);
      copy_async_commit();
    }
    if (!seen) continue;
    if (key + Tiles::keys - 1 > own_begin || key < lowest_of_all) {
#pragma unroll
      for (int m = 0; m < Tiles::m_tiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          int const row = warp * Tiles::rows + 16 * m + 8 * half + lane / 4;
          int const last = query_begin + row - key - lane % 4 * 2;
          int const lowest = lowest_keys[row] - key - lane % 4 * 2;
#pragma unroll
          for (int n = 0; n < Tiles::keys / 8; ++n) {
#pragma unroll
            for (int right = 0; right < 2; ++right) {
              int const column = 8 * n + right;
              if (column > last || column < lowest) scores[m][n][2 * half + right] = -INFINITY;
            }
          }
        }
      }
    }
    softmax.weigh(scores, scale);
    add_weighted_rows<head_size>(softmax.sums, scores, value_tile, lane);
  }

  float inverse[Tiles::m_tiles][2];
  std::int64_t const log_row = place.head * args.log_sum_exp_stride;
#pragma unroll
  for (int m = 0; m < Tiles::m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = softmax.total[m][half];
      total += __shfl_xor_sync(whole_warp, total, 1);
      total += __shfl_xor_sync(whole_warp, total, 2);
      inverse[m][half] = 1.0F / total;
      int const query = own_begin + 16 * m + 8 * half + lane / 4;
      if (lane % 4 == 0 && query < args.sequence) {
        args.log_sum_exp[log_row + query] = fmaf(softmax.maximum[m][half], args.scale, logf(total));
      }
    }
  }
  store_rows<head_size>(softmax.sums, inverse, own_queries,
                        args.out + (token + own_begin) * args.out_stride + head * head_size, args.out_stride,
                        args.sequence - own_begin, lane);
}

template <int head_size>
void launch_forward(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  using Tiles = ForwardTiles<head_size>;
  TileOrder const order = tile_order(shape.batch * shape.heads, groups_of(Tiles::queries, shape.sequence), args.group,
                                     shape.sequence * head_size * 4 / args.group);
  launch(forward_kernel<head_size>, dim3{order.heads * order.tiles}, dim3{Tiles::threads}, Tiles::shared_bytes,
         context.stream, args, order);
}

}  // namespace

void attention_tensor_forward(Context const& context, AttentionShape const& shape, BrainArguments const& args) {
  shape.head_size == 64 ? launch_forward<64>(context, shape, args) : launch_forward<128>(context, shape, args);
}

}  // namespace jreg::backend::cuda
