#include "backend/cuda/kernels/adamw.h"

#include "backend/adamw_update.h"
#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/launch.h"
#include "base/philox.h"

namespace jreg::backend::cuda {
namespace {

constexpr int block_threads = 256;

/// The new weight; sets the new moments.
__device__ float updated(AdamWUpdate const& update, float weight, float gradient, float& first, float& second) {
  float const g = update.scale * gradient;
  float const m = update.beta1 * first + (1 - update.beta1) * g;
  float const v = update.beta2 * second + (1 - update.beta2) * g * g;
  first = m;
  second = v;
  return update.kept * weight - update.rate * m / (sqrtf(v) * update.root + update.eps);
}

struct State {
  float* weight;
  float const* gradient;
  float* first;
  float* second;
  Bf16* compute;  // null: not written
};

/// One pack of 4 elements per thread, four loads of 16 bytes under way. Bytes per element: 28 (weight, both moments in
/// and out, gradient in), and 2 for `compute`: the floor. Only the bf16 weights are read again soon.
template <int width, bool has_compute>
__global__ void __launch_bounds__(block_threads) update_elements(State state, AdamWUpdate update, std::int64_t packs) {
  std::int64_t const pack = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (pack >= packs) return;
  std::int64_t const at = pack * width;
  auto const raw_gradient = load<float, width, Reuse::never>(state.gradient + at);
  auto const raw_weight = load<float, width, Reuse::never>(state.weight + at);
  auto const raw_first = load<float, width, Reuse::never>(state.first + at);
  auto const raw_second = load<float, width, Reuse::never>(state.second + at);
  auto const gradient = to_floats(raw_gradient);
  auto weight = to_floats(raw_weight);
  auto first = to_floats(raw_first);
  auto second = to_floats(raw_second);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    weight.values[i] = updated(update, weight.values[i], gradient.values[i], first.values[i], second.values[i]);
  }
  store<Reuse::never>(state.first + at, to_raw<float>(first));
  store<Reuse::never>(state.second + at, to_raw<float>(second));
  store<Reuse::never>(state.weight + at, to_raw<float>(weight));
  if constexpr (has_compute) store(state.compute + at, to_raw<Bf16>(weight));
}

/// Elements [begin, end), in packs of `width`.
template <int width>
void update_range(Context const& context, AdamW const& args, std::int64_t begin, std::int64_t end) {
  std::int64_t const packs = (end - begin) / width;
  State const state{.weight = args.weight.as<float>() + begin,
                    .gradient = args.gradient.as<float>() + begin,
                    .first = args.first.as<float>() + begin,
                    .second = args.second.as<float>() + begin,
                    .compute = args.compute ? static_cast<Bf16*>(args.compute.data) + begin : nullptr};
  launch(args.compute ? update_elements<width, true> : update_elements<width, false>, blocks_for(packs, block_threads),
         block_threads, 0, context.stream, state, update_of(args), packs);
}

struct RoundedState {
  Bf16* weight;
  float const* gradient;
  float* first;
  float* second;
};

struct Words {
  unsigned a;
  unsigned b;
  unsigned c;
  unsigned d;
};

/// The 16 bits of the block's element `place`.
__device__ unsigned random_bits(Words const& words, int place) {
  unsigned const low = place < 4 ? words.a : words.c;
  unsigned const high = place < 4 ? words.b : words.d;
  unsigned const word = place % 4 < 2 ? low : high;
  return place % 2 == 0 ? word & 0xffffU : word >> 16;
}

/// As StochasticRounding has it.
__device__ unsigned rounded_by(unsigned random, float value) {
  unsigned const bits = __float_as_uint(value);
  unsigned const magnitude = bits & 0x7fffffffU;
  unsigned const added = magnitude < 0x7f800000U ? random : 0U;
  unsigned const quiet = magnitude > 0x7f800000U ? 0x400000U : 0U;
  return ((bits + added) | quiet) >> 16;
}

constexpr int random_block = 8;  // elements that share a block of Philox

/// One pack of `random_block` elements per thread, or one element. Elements [begin, begin + packs * width); bytes per
/// element: 24 (both moments and the bf16 weight in and out, gradient in), the floor.
template <int width>
__global__ void __launch_bounds__(block_threads)
    update_rounding(RoundedState state, AdamWUpdate update, StochasticRounding rounding, std::int64_t begin,
                    std::int64_t packs) {
  std::int64_t const pack = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (pack >= packs) return;
  std::int64_t const at = begin + pack * width;
  auto const raw_gradient = load<float, width, Reuse::never>(state.gradient + at);
  auto const raw_weight = load<Bf16, width, Reuse::never>(state.weight + at);
  auto const raw_first = load<float, width, Reuse::never>(state.first + at);
  auto const raw_second = load<float, width, Reuse::never>(state.second + at);
  // While these are under way. Most tensors are one run, and divide nothing.
  std::int64_t element = rounding.first + at;
  if (at >= rounding.run) {
    std::int64_t const run = at / rounding.run;
    element = rounding.first + run * rounding.stride + (at - run * rounding.run);
  }
  auto const words = philox<Words>(rounding.key, 0, static_cast<std::uint64_t>(element / random_block));
  int const place = width == random_block ? 0 : static_cast<int>(element % random_block);
  auto const gradient = to_floats(raw_gradient);
  auto const weight = to_floats(raw_weight);
  auto first = to_floats(raw_first);
  auto second = to_floats(raw_second);
  Raw<Bf16, width> rounded{};
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float const w = updated(update, weight.values[i], gradient.values[i], first.values[i], second.values[i]);
    unsigned const half = rounded_by(random_bits(words, place + i), w) << (i % 2 * 16);
    rounded.words[i / 2] = static_cast<typename Raw<Bf16, width>::Word>(rounded.words[i / 2] | half);
  }
  store<Reuse::never>(state.first + at, to_raw<float>(first));
  store<Reuse::never>(state.second + at, to_raw<float>(second));
  store(state.weight + at, rounded);
}

template <int width> void round_range(Context const& context, AdamW const& args, std::int64_t begin, std::int64_t end) {
  std::int64_t const packs = (end - begin) / width;
  RoundedState const state{.weight = static_cast<Bf16*>(args.weight.data),
                           .gradient = args.gradient.as<float>(),
                           .first = args.first.as<float>(),
                           .second = args.second.as<float>()};
  launch(update_rounding<width>, blocks_for(packs, block_threads), block_threads, 0, context.stream, state,
         update_of(args), args.rounding, begin, packs);
}

/// How many of the elements go in packs of `width`: all whole ones, or none.
std::int64_t in_packs(AdamW const& args, int width) {
  std::int64_t const count = args.weight.columns;
  std::int64_t const body = count - count % width;
  for (Tensor const& tensor : {args.weight, args.gradient, args.first, args.second, args.compute}) {
    int const access = tensor.dtype == DType::f32 ? full_width<float> : width;
    if (tensor && !allows_width(tensor.column_range(0, body), access)) return 0;
  }
  return body;
}

void round(Context const& context, AdamW const& args) {
  StochasticRounding const& rounding = args.rounding;
  std::int64_t const count = args.weight.columns;
  bool const one_run = rounding.run >= count;
  bool const on_blocks = rounding.first % random_block == 0 &&
                         (one_run || (rounding.run % random_block == 0 && rounding.stride % random_block == 0));
  std::int64_t const body = on_blocks ? in_packs(args, random_block) : 0;
  round_range<random_block>(context, args, 0, body);
  round_range<1>(context, args, body, count);
}

}  // namespace

void adamw(Context const& context, AdamW const& args) {
  if (args.weight.dtype == DType::bf16) return round(context, args);
  std::int64_t const body = in_packs(args, full_width<float>);
  update_range<full_width<float>>(context, args, 0, body);
  update_range<1>(context, args, body, args.weight.columns);
}

}  // namespace jreg::backend::cuda
