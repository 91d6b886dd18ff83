#include "backend/cuda/kernels/cross_entropy.h"

#include <algorithm>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/pieces.cuh"

// A chunk of logits is small enough to stay in the L2 cache between the three passes, so these leave their hints to it.

namespace jreg::backend::cuda {
namespace {

/// Packs of 16 bytes that a thread has under way together.
constexpr int packs_ahead = 4;
/// Warps of a block that reads a row: many for long rows, of which there are few.
constexpr int few_warps = 8;
constexpr int many_warps = 32;

/// The larger of two, NaN where there is one.
__device__ float larger(float a, float b) {
  return a > b || a != a ? a : b;
}

/// Calls visit(logit) for the row's columns below `columns`, which the threads of a block share out; what the last pack
/// has of the padding is visited as -infinity.
template <int warps, int width, class Visit>
__device__ void for_columns(float const* row, std::int64_t columns, Visit const& visit) {
  constexpr std::int64_t step = std::int64_t{warps} * warp_size * width;
  for (std::int64_t begin = static_cast<std::int64_t>(threadIdx.x) * width; begin < columns;
       begin += step * packs_ahead) {
    Raw<float, width> raw[packs_ahead];
#pragma unroll
    for (int p = 0; p < packs_ahead; ++p) {
      // The last pack may reach into the padding, not beyond it.
      if (begin + p * step < columns) raw[p] = load<float, width>(row + begin + p * step);
    }
#pragma unroll
    for (int p = 0; p < packs_ahead; ++p) {
      if (begin + p * step >= columns) break;
      auto const logits = to_floats(raw[p]);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        visit(begin + p * step + i < columns ? logits.values[i] : -INFINITY);
      }
    }
  }
}

/// A block per token, 4 packs of 16 bytes per thread under way. Bytes per logit: 4, the floor.
template <int warps, int width>
__global__ void __launch_bounds__(warps* warp_size)
    row_maxima(Rows<float const> logits, std::int64_t columns, float* maximum) {
  __shared__ float shared[warps];
  float largest = -INFINITY;
  for_columns<warps, width>(logits.row(blockIdx.x), columns, [&](float logit) { largest = larger(logit, largest); });
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    largest = larger(largest, __shfl_xor_sync(whole_warp, largest, offset));
  }
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = largest;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < warps; ++w) largest = larger(shared[w], largest);
  maximum[blockIdx.x] = largest;
}

/// The same grid and bytes: sums (2, n) as in Ops. `first`: the vocabulary row of column 0.
template <int warps, int width>
__global__ void __launch_bounds__(warps* warp_size, 2048 / (warps * warp_size))
    row_sums(Rows<float const> logits, std::int64_t columns, std::int64_t first, float const* maximum,
             std::int32_t const* targets, Rows<float> sums) {
  __shared__ float shared[warps];
  float const* const row = logits.row(blockIdx.x);
  float const largest = maximum[blockIdx.x];
  float sum[1] = {};
  for_columns<warps, width>(row, columns, [&](float logit) { sum[0] += expf(logit - largest); });
  block_sum<warps, 1>(sum, shared);
  if (threadIdx.x != 0) return;
  std::int64_t const target = targets[blockIdx.x] - first;
  sums.row(0)[blockIdx.x] = sum[0];
  sums.row(1)[blockIdx.x] = target >= 0 && target < columns ? row[target] - largest : 0.0F;
}

/// What the gradient of a chunk of logits needs beside them.
struct Softmax {
  std::int64_t columns;  // that are no padding
  std::int64_t first;
  float const* maximum;
  float const* sums;
  std::int32_t const* targets;
  float scale;
};

constexpr int gradient_packs = 2;

/// A block per piece of a row, 2 packs per thread. Bytes per logit: 8 in f32, 6 to bf16: the floor. What is written
/// goes straight into products.
template <class T, int width>
__global__ void __launch_bounds__(128)
    gradient_pieces(Rows<float const> logits, Rows<T> gradient, Softmax softmax, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<gradient_packs>(per_row);
  float const largest = softmax.maximum[place.row];
  float const factor = softmax.scale / softmax.sums[place.row];
  std::int64_t const target = softmax.targets[place.row] - softmax.first;
  Raw<float, width> raw[gradient_packs];
#pragma unroll
  for (int p = 0; p < gradient_packs; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) raw[p] = load<float, width, Reuse::never>(logits.row(place.row) + pack * width);
  }
#pragma unroll
  for (int p = 0; p < gradient_packs; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack >= packs) return;
    auto values = to_floats(raw[p]);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      std::int64_t const column = pack * width + i;
      // Rounded by itself, so that what is written as bf16 is the rounded fp32 gradient.
      float const probability = __fmul_rn(factor, expf(values.values[i] - largest));
      float const value = column == target ? probability - softmax.scale : probability;
      values.values[i] = column < softmax.columns ? value : 0.0F;
    }
    store(gradient.row(place.row) + pack * width, to_raw<T>(values));
  }
}

template <class T, int width>
void launch_gradient(Context const& context, Tensor const& logits, Tensor const& gradient, Softmax const& softmax) {
  std::int64_t const packs = logits.columns / width;
  Pieces const pieces = pieces_of(logits.rows, packs, gradient_packs);
  launch(gradient_pieces<T, width>, pieces.blocks, pieces.threads, 0, context.stream, rows_of<float const>(logits),
         rows_of<T>(gradient), softmax, packs, pieces.per_row);
}

/// loss += sum over tokens of log(sums[0]) - sums[1], by one block, which is enough for a chunk.
__global__ void __launch_bounds__(many_warps* warp_size)
    add_losses(Rows<float const> sums, std::int64_t tokens, double* loss) {
  __shared__ double shared[many_warps];
  double total[1] = {};
  for (std::int64_t t = threadIdx.x; t < tokens; t += many_warps * warp_size) {
    total[0] += log(static_cast<double>(sums.row(0)[t])) - static_cast<double>(sums.row(1)[t]);
  }
  block_sum<many_warps, 1>(total, shared);
  if (threadIdx.x == 0) *loss += total[0];
}

/// Columns of [first, first + columns) that are no padding.
std::int64_t real_columns(Tensor const& logits, std::int64_t first, std::int64_t vocab) {
  return std::clamp<std::int64_t>(vocab - first, 0, logits.columns);
}

bool in_packs(Tensor const& logits) {
  return allows_width(logits, full_width<float>);
}

/// Rows that 8 warps read in one go of their packs.
bool is_short(Tensor const& logits) {
  return logits.columns <= 2 * few_warps * warp_size * packs_ahead * full_width<float>;
}

}  // namespace

void logits_max(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                Tensor const& maximum) {
  constexpr int full = full_width<float>;
  auto* const kernel = is_short(logits)   ? in_packs(logits) ? row_maxima<few_warps, full> : row_maxima<few_warps, 1>
                         : in_packs(logits) ? row_maxima<many_warps, full>
                                          : row_maxima<many_warps, 1>;
  launch(kernel, blocks_for(logits.rows, 1), (is_short(logits) ? few_warps : many_warps) * warp_size, 0, context.stream,
         rows_of<float const>(logits), real_columns(logits, first, vocab), maximum.as<float>());
}

void logits_sum(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                Tensor const& maximum, Tensor const& targets, Tensor const& sums) {
  constexpr int full = full_width<float>;
  auto* const kernel = is_short(logits)   ? in_packs(logits) ? row_sums<few_warps, full> : row_sums<few_warps, 1>
                         : in_packs(logits) ? row_sums<many_warps, full>
                                          : row_sums<many_warps, 1>;
  launch(kernel, blocks_for(logits.rows, 1), (is_short(logits) ? few_warps : many_warps) * warp_size, 0, context.stream,
         rows_of<float const>(logits), real_columns(logits, first, vocab), first, maximum.as<float>(),
         targets.as<std::int32_t>(), rows_of<float>(sums));
}

void logits_gradient(Context const& context, Tensor const& logits, std::int64_t first, std::int64_t vocab,
                     Tensor const& maximum, Tensor const& sums, Tensor const& targets, float scale,
                     Tensor const& gradient) {
  Softmax const softmax{.columns = real_columns(logits, first, vocab),
                        .first = first,
                        .maximum = maximum.as<float>(),
                        .sums = sums.as<float>(),
                        .targets = targets.as<std::int32_t>(),
                        .scale = scale};
  constexpr int low_width = full_width<Bf16>;
  if (gradient.dtype == DType::f32) {
    bool const packs = in_packs(logits) && in_packs(gradient);
    packs ? launch_gradient<float, full_width<float>>(context, logits, gradient, softmax)
          : launch_gradient<float, 1>(context, logits, gradient, softmax);
  } else {
    bool const packs = allows_width(logits, low_width) && allows_width(gradient, low_width);
    packs ? launch_gradient<Bf16, low_width>(context, logits, gradient, softmax)
          : launch_gradient<Bf16, 1>(context, logits, gradient, softmax);
  }
}

void add_token_losses(Context const& context, Tensor const& sums, Tensor const& loss) {
  launch(add_losses, 1, many_warps * warp_size, 0, context.stream, rows_of<float const>(sums), sums.columns,
         loss.as<double>());
}

}  // namespace jreg::backend::cuda
