#include <climits>
#include <cmath>

#include "backend/cuda/kernels/attention_numbers.cuh"
#include "backend/cuda/kernels/attention_plain.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace plain {

namespace {

/// A head of one sequence: its rows and which keys its queries see.
template <class T> struct Sequence {
  AttentionArguments<T> const& args;
  std::int64_t token;         // the first
  std::int64_t row;           // batch * heads + head
  int head;                   // of queries
  std::int32_t const* first;  // of this sequence

  __device__ Sequence(AttentionArguments<T> const& arguments, std::int64_t batch, int query_head)
      : args{arguments},
        token{batch * arguments.sequence},
        row{batch * arguments.heads + query_head},
        head{query_head},
        first{arguments.first == nullptr ? nullptr : arguments.first + batch * arguments.sequence} {}

  __device__ HeadRows<T> part(T const* base, std::int64_t stride, std::int64_t column, int begin) const {
    return {base + (token + begin) * stride + column, stride, args.sequence - begin};
  }
  __device__ HeadRows<T> queries(int begin) const {
    return part(args.qkv, args.qkv_stride, static_cast<std::int64_t>(head) * args.head_size, begin);
  }
  __device__ HeadRows<T> keys(int begin) const {
    return part(args.qkv, args.qkv_stride, args.key_column(head / args.group), begin);
  }
  __device__ HeadRows<T> values(int begin) const {
    return part(args.qkv, args.qkv_stride, args.value_column(head / args.group), begin);
  }
  __device__ HeadRows<T> douts(int begin) const {
    return part(args.dout, args.dout_stride, static_cast<std::int64_t>(head) * args.head_size, begin);
  }
  /// The first key that a query sees; INT_MAX beyond the sequence: none.
  __device__ int lowest(int query) const {
    if (query >= args.sequence) return INT_MAX;
    return first == nullptr ? 0 : first[query];
  }
  __device__ float log_sum_exp(int query) const {
    return query < args.sequence ? args.numbers[row * args.sequence + query].log_sum_exp : 0.0F;
  }
  __device__ float delta(int query) const {
    return query < args.sequence ? args.numbers[row * args.sequence + query].delta : 0.0F;
  }
};

/// Largest and sum over the 16 threads of a row.
__device__ inline float row_max(float value) {
  for (int offset = 8; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(whole_warp, value, offset));
  return value;
}
__device__ inline float row_sum(float value) {
  for (int offset = 8; offset > 0; offset /= 2) value += __shfl_xor_sync(whole_warp, value, offset);
  return value;
}

/// Forward as in attention_forward.cu, 64 queries and 64 columns of the output a block: a block for each further 64
/// columns makes the scores again. 256 threads of 128 registers (2 blocks an SM), 32.8 KiB of shared memory; fp32
/// units, about 2 head_size fma for each pair of query and key, half of their instructions reading shared memory.
template <class T>
__global__ void __launch_bounds__(threads) forward_kernel(AttentionArguments<T> const args, TileOrder const order) {
  auto& shared = *reinterpret_cast<Shared*>(dynamic_shared());
  Place const place = place_of(order, args.heads, true);
  Sequence<T> const head{args, place.batch, place.head};
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
  int const end = min(place.begin + tile, args.sequence);
  int const key_begin = head.lowest(place.begin) / tile * tile;
  Sums sums = {};
  float maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float total[4] = {};
  for (int key = key_begin; key < end; key += tile) {
    Scores scores;
    multiply_rows(scores, head.queries(place.begin), head.keys(key), args.head_size, shared);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int const query = place.begin + 4 * y + i;
      int const lowest = head.lowest(query);
      float largest = maximum[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int const k = key + x + 16 * j;
        scores[i][j] = k > query || k < lowest ? -INFINITY : scores[i][j] * args.scale;
        largest = fmaxf(largest, scores[i][j]);
      }
      largest = row_max(largest);
      float const base = largest == -INFINITY ? 0.0F : largest;  // no key of this row yet: all weights are 0
      float const correction = expf(maximum[i] - base);
      maximum[i] = largest;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = expf(scores[i][j] - base);
        sum += scores[i][j];
      }
      total[i] = fmaf(total[i], correction, row_sum(sum));
#pragma unroll
      for (float& value : sums[i]) value *= correction;
    }
    share_weights(scores, shared);
    add_weighted(sums, head.values(key), place.column, args.head_size, shared);
  }
  float inverse[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    inverse[i] = 1.0F / total[i];
    int const query = place.begin + 4 * y + i;
    if (x == 0 && place.column == 0 && query < args.sequence) {
      args.log_sum_exp[head.row * args.log_sum_exp_stride + query] = maximum[i] + logf(total[i]);
    }
  }
  T* const out =
      args.out + (head.token + place.begin) * args.out_stride + static_cast<std::int64_t>(place.head) * args.head_size;
  store_sums(sums, inverse, out, args.out_stride, args.sequence - place.begin, place.column, args.head_size);
}

/// As attention_query_gradient.cu, 64 queries and 64 columns a block.
template <class T>
__global__ void __launch_bounds__(threads)
    query_gradient_kernel(AttentionArguments<T> const args, TileOrder const order) {
  auto& shared = *reinterpret_cast<Shared*>(dynamic_shared());
  Place const place = place_of(order, args.heads, true);
  Sequence<T> const head{args, place.batch, place.head};
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
  int const end = min(place.begin + tile, args.sequence);
  Sums sums = {};
  for (int key = head.lowest(place.begin) / tile * tile; key < end; key += tile) {
    Scores weights;
    Scores gradients;
    multiply_rows(weights, head.queries(place.begin), head.keys(key), args.head_size, shared);
    multiply_rows(gradients, head.douts(place.begin), head.values(key), args.head_size, shared);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int const query = place.begin + 4 * y + i;
      int const lowest = head.lowest(query);
      float const logarithm = head.log_sum_exp(query);
      float const delta = head.delta(query);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int const k = key + x + 16 * j;
        bool const seen = k <= query && k >= lowest;
        float const weight = seen ? expf(weights[i][j] * args.scale - logarithm) : 0.0F;
        gradients[i][j] = weight * (gradients[i][j] - delta);
      }
    }
    share_weights(gradients, shared);
    add_weighted(sums, head.keys(key), place.column, args.head_size, shared);
  }
  float const factor[4] = {args.scale, args.scale, args.scale, args.scale};
  T* const to = args.dqkv + (head.token + place.begin) * args.dqkv_stride +
                static_cast<std::int64_t>(place.head) * args.head_size;
  store_sums(sums, factor, to, args.dqkv_stride, args.sequence - place.begin, place.column, args.head_size);
}

/// As attention_key_gradient.cu, 64 keys and 64 columns a block.
template <class T>
__global__ void __launch_bounds__(threads)
    key_gradient_kernel(AttentionArguments<T> const args, TileOrder const order) {
  auto& shared = *reinterpret_cast<Shared*>(dynamic_shared());
  Place const place = place_of(order, args.kv_heads, false);
  int const y = static_cast<int>(threadIdx.x) / 16;
  int const x = static_cast<int>(threadIdx.x) % 16;
  Sums key_sums = {};
  Sums value_sums = {};
  for (int member = 0; member < args.group; ++member) {
    Sequence<T> const head{args, place.batch, place.head * args.group + member};
    for (int query_begin = place.begin; query_begin < args.sequence; query_begin += tile) {
      if (head.lowest(query_begin) >= place.begin + tile) break;  // nor do later ones see these keys
      Scores weights;
      Scores gradients;
      multiply_rows(weights, head.keys(place.begin), head.queries(query_begin), args.head_size, shared);
      multiply_rows(gradients, head.values(place.begin), head.douts(query_begin), args.head_size, shared);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int const query = query_begin + x + 16 * j;
        int const lowest = head.lowest(query);
        float const logarithm = head.log_sum_exp(query);
        float const delta = head.delta(query);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          int const k = place.begin + 4 * y + i;
          bool const seen = k <= query && k >= lowest;
          weights[i][j] = seen ? expf(weights[i][j] * args.scale - logarithm) : 0.0F;
          gradients[i][j] = weights[i][j] * (gradients[i][j] - delta);
        }
      }
      share_weights(weights, shared);
      add_weighted(value_sums, head.douts(query_begin), place.column, args.head_size, shared);
      share_weights(gradients, shared);
      add_weighted(key_sums, head.queries(query_begin), place.column, args.head_size, shared);
    }
  }
  float const scale[4] = {args.scale, args.scale, args.scale, args.scale};
  float const one[4] = {1, 1, 1, 1};
  T* const to = args.dqkv + (place.batch * args.sequence + place.begin) * args.dqkv_stride;
  int const valid = args.sequence - place.begin;
  store_sums(key_sums, scale, to + args.key_column(place.head), args.dqkv_stride, valid, place.column, args.head_size);
  store_sums(value_sums, one, to + args.value_column(place.head), args.dqkv_stride, valid, place.column,
             args.head_size);
}

/// Launches a kernel over all tiles of `heads` heads of each token.
template <class T>
void launch_tiles(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args,
                  std::int64_t heads, void (*kernel)(AttentionArguments<T>, TileOrder)) {
  TileOrder const order = tile_order(shape.batch * heads, groups_of(tile, shape.sequence), 1,
                                     shape.sequence * shape.head_size * 2 * static_cast<std::int64_t>(sizeof(T)));
  std::int64_t const parts = groups_of(columns, shape.head_size);
  expect(parts <= largest_grid_yz, "a head has at most 65535 * 64 columns");
  launch(kernel, dim3{order.heads * order.tiles, static_cast<unsigned>(parts)}, dim3{threads}, sizeof(Shared),
         context.stream, args, order);
}

}  // namespace

}  // namespace plain

template <class T>
void attention_plain_forward(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args) {
  plain::launch_tiles(context, shape, args, shape.heads, plain::forward_kernel<T>);
}

template <class T>
void attention_plain_backward(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args) {
  launch_numbers<T, 1, warp_size>(context, shape, args);
  plain::launch_tiles(context, shape, args, shape.kv_heads, plain::key_gradient_kernel<T>);
  plain::launch_tiles(context, shape, args, shape.heads, plain::query_gradient_kernel<T>);
}

template void attention_plain_forward(Context const&, AttentionShape const&, AttentionArguments<float> const&);
template void attention_plain_forward(Context const&, AttentionShape const&, AttentionArguments<Bf16> const&);
template void attention_plain_backward(Context const&, AttentionShape const&, AttentionArguments<float> const&);
template void attention_plain_backward(Context const&, AttentionShape const&, AttentionArguments<Bf16> const&);

}  // namespace jreg::backend::cuda
