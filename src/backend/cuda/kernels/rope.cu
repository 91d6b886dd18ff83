#include "backend/cuda/kernels/rope.h"

#include <algorithm>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

constexpr int rope_threads = 256;

struct RopeArguments {
  void* qkv;
  std::int64_t stride;  // of a token, elements
  std::int32_t const* first;
  float const* cosine;
  std::int64_t cosine_stride;
  float const* sine;
  std::int64_t sine_stride;
  float sign;  // of the angle
  std::int64_t tokens;
  int sequence;
  int heads;  // that turn: of queries and keys
  int half;   // pairs of a head
};

/// (low, high) <- (low cos - high sin, high cos + low sin) for every pair of the query and key heads, in place.
/// A block of 256 threads takes the tokens whose packs fill it (at least one), a thread `width` pairs at a time, all
/// heads of a token next to each other: accesses of 16 bytes, neighbouring threads at neighbouring addresses.
/// No shared memory; 24 to 40 registers, 6 blocks an SM or more. Floor: (heads + kv_heads) head_size elements of each
/// token read and written once (the angles come from the L1 cache after the first head); 6 flops a pair.
template <class T, int width> __global__ void __launch_bounds__(rope_threads) rope_kernel(RopeArguments const args) {
  int const packs_of_head = args.half / width;
  int const packs_of_token = args.heads * packs_of_head;
  int const tokens_of_block = packs_of_token < rope_threads ? rope_threads / packs_of_token : 1;
  std::int64_t const begin = static_cast<std::int64_t>(blockIdx.x) * tokens_of_block;
  for (int i = static_cast<int>(threadIdx.x); i < tokens_of_block * packs_of_token; i += rope_threads) {
    int const token_of_block = i / packs_of_token;
    int const pack = i - token_of_block * packs_of_token;
    std::int64_t const token = begin + token_of_block;
    if (token >= args.tokens) return;
    int const head = pack / packs_of_head;
    int const pair = (pack - head * packs_of_head) * width;
    int const position = static_cast<int>(token % args.sequence) - (args.first == nullptr ? 0 : args.first[token]);
    auto const cosine = to_floats(load<float, width>(args.cosine + position * args.cosine_stride + pair));
    auto const sine = to_floats(load<float, width>(args.sine + position * args.sine_stride + pair));
    T* const low =
        static_cast<T*>(args.qkv) + token * args.stride + static_cast<std::int64_t>(head) * 2 * args.half + pair;
    T* const high = low + args.half;
    auto lows = to_floats(load<T, width>(low));
    auto highs = to_floats(load<T, width>(high));
#pragma unroll
    for (int j = 0; j < width; ++j) {
      float const x = lows.values[j];
      float const y = highs.values[j];
      float const c = cosine.values[j];
      float const s = args.sign * sine.values[j];
      lows.values[j] = x * c - y * s;
      highs.values[j] = y * c + x * s;
    }
    store(low, to_raw<T>(lows));
    store(high, to_raw<T>(highs));
  }
}

template <class T, int width> void launch_rope(Context const& context, RopeArguments const& args) {
  std::int64_t const packs = static_cast<std::int64_t>(args.heads) * (args.half / width);
  std::int64_t const tokens_of_block = std::max<std::int64_t>(1, rope_threads / packs);
  launch(rope_kernel<T, width>, dim3{blocks_for(args.tokens, tokens_of_block)}, dim3{rope_threads}, 0, context.stream,
         args);
}

template <class T>
void choose_rope(Context const& context, RopeArguments const& args, Tensor const& qkv, Rotation const& rotation) {
  constexpr int width = full_width<T>;
  constexpr int angles = full_width<float>;
  bool const wide = args.half % width == 0 && allows_width(qkv, width) && allows_width(rotation.cosine, angles) &&
                    allows_width(rotation.sine, angles);
  wide ? launch_rope<T, width>(context, args) : launch_rope<T, 1>(context, args);
}

}  // namespace

void rope(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
          Rotation const& rotation, Turn turn) {
  constexpr std::int64_t largest = std::int64_t{1} << 30U;
  expect(shape.qkv_columns() < largest, "a token has less than 2^30 columns");
  expect(shape.tokens() < largest, "rope takes less than 2^30 tokens at a time");
  RopeArguments const args{qkv.data,
                           qkv.stride,
                           first ? first.as<std::int32_t>() : nullptr,
                           rotation.cosine.as<float>(),
                           rotation.cosine.stride,
                           rotation.sine.as<float>(),
                           rotation.sine.stride,
                           turn == Turn::forward ? 1.0F : -1.0F,
                           shape.tokens(),
                           static_cast<int>(shape.sequence),
                           static_cast<int>(shape.heads + shape.kv_heads),
                           static_cast<int>(shape.head_size / 2)};
  qkv.dtype == DType::f32 ? choose_rope<float>(context, args, qkv, rotation)
                          : choose_rope<Bf16>(context, args, qkv, rotation);
}

}  // namespace jreg::backend::cuda
