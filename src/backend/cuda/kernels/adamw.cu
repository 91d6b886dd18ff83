#include "backend/cuda/kernels/adamw.h"

#include <cmath>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {
namespace {

constexpr int block_threads = 256;

/// What one update is made of, as far as all elements share it.
struct Update {
  float scale;  // of the gradient
  float beta1;
  float beta2;
  float eps;
  float kept;  // 1 - rate decay
  float rate;  // rate / correction1
  float root;  // 1 / sqrt(correction2)
};

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
__global__ void __launch_bounds__(block_threads) update_elements(State state, Update update, std::int64_t packs) {
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
    float const g = update.scale * gradient.values[i];
    float const m = update.beta1 * first.values[i] + (1 - update.beta1) * g;
    float const v = update.beta2 * second.values[i] + (1 - update.beta2) * g * g;
    float const w = update.kept * weight.values[i] - update.rate * m / (sqrtf(v) * update.root + update.eps);
    first.values[i] = m;
    second.values[i] = v;
    weight.values[i] = w;
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
  Update const update{.scale = args.gradient_scale,
                      .beta1 = args.beta1,
                      .beta2 = args.beta2,
                      .eps = args.eps,
                      .kept = 1 - args.rate * args.decay,
                      .rate = args.rate / args.correction1,
                      .root = 1 / std::sqrt(args.correction2)};
  State const state{.weight = args.weight.as<float>() + begin,
                    .gradient = args.gradient.as<float>() + begin,
                    .first = args.first.as<float>() + begin,
                    .second = args.second.as<float>() + begin,
                    .compute = args.compute ? static_cast<Bf16*>(args.compute.data) + begin : nullptr};
  launch(args.compute ? update_elements<width, true> : update_elements<width, false>, blocks_for(packs, block_threads),
         block_threads, 0, context.stream, state, update, packs);
}

}  // namespace

void adamw(Context const& context, AdamW const& args) {
  std::int64_t const count = args.weight.columns;
  constexpr int width = full_width<float>;
  std::int64_t body = count - count % width;
  for (Tensor const& tensor : {args.weight, args.gradient, args.first, args.second, args.compute}) {
    if (tensor && !allows_width(tensor.column_range(0, body), width)) body = 0;
  }
  update_range<width>(context, args, 0, body);
  update_range<1>(context, args, body, count);
}

}  // namespace jreg::backend::cuda
