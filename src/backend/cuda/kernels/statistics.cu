#include "backend/cuda/kernels/statistics.h"

#include <algorithm>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/ptx.cuh"
#include "backend/cuda/kernels/reduce.cuh"
#include "backend/cuda/launch.h"

// Sums in fp64: every block leaves its part in the workspace, and one block adds the parts up in order.

namespace jreg::backend::cuda {
namespace {

constexpr float tiny_norm = 1e-12F;
constexpr double two_over_pi = 0.63661977236758134308;
constexpr int block_warps = 8;
constexpr int block_threads = block_warps * warp_size;
/// Tokens of a block of the angular sums; elements that a thread of the squares has under way.
constexpr int tokens_per_thread = 4;
constexpr int packs_ahead = 4;
/// Bins that a block counts in its own memory.
constexpr std::int64_t most_shared_bins = 4096;

struct TokenRows {
  float const* norm;
  float const* displacement;
  float const* update_norm;
  float const* previous_norm;  // null for h_0
};

/// A thread takes 4 tokens, 1024 per block. Bytes per token: 16, the floor. parts: (blocks, angular_sums).
__global__ void __launch_bounds__(block_threads) sum_angular_rows(TokenRows rows, std::int64_t tokens, double* parts) {
  __shared__ double shared[block_warps * angular_sums];
  std::int64_t const begin = static_cast<std::int64_t>(blockIdx.x) * (block_threads * tokens_per_thread) + threadIdx.x;
  bool const whole = rows.previous_norm != nullptr;
  double sums[angular_sums] = {};
#pragma unroll
  for (int i = 0; i < tokens_per_thread; ++i) {
    std::int64_t const t = begin + i * block_threads;
    if (t >= tokens) break;
    sums[sum_norm] += static_cast<double>(rows.norm[t]);
    sums[sum_count] += 1;
    if (!whole) continue;
    auto const psi = static_cast<double>(rows.displacement[t]);
    sums[sum_displacement] += psi;
    sums[sum_displacement_squared] += psi * psi;
    sums[sum_angle] += asin(sqrt(psi));
    float const start = rows.previous_norm[t];
    if (!(start < tiny_norm)) sums[sum_relative_update] += static_cast<double>(rows.update_norm[t] / start);
  }
  sums[sum_angle] *= two_over_pi;
  block_sum<block_warps, angular_sums>(sums, shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < angular_sums; ++i) parts[blockIdx.x * angular_sums + i] = sums[i];
  }
}

/// One block: sums[i] += the sum of parts[p * count + i] over p = 0 .. parts-1.
template <int count>
__global__ void __launch_bounds__(block_threads) add_parts(double const* parts, std::int64_t number, double* sums) {
  __shared__ double shared[block_warps * count];
  double totals[count] = {};
  for (std::int64_t p = threadIdx.x; p < number; p += block_threads) {
#pragma unroll
    for (int i = 0; i < count; ++i) totals[i] += parts[p * count + i];
  }
  block_sum<block_warps, count>(totals, shared);
  if (threadIdx.x != 0) return;
#pragma unroll
  for (int i = 0; i < count; ++i) sums[i] += totals[i];
}

/// Whether a number is a displacement, and its bin.
__device__ bool bin_of(float value, std::int64_t bins, std::int64_t& bin) {
  // Not a number lands in no bin.
  if (!(value >= 0 && value <= 1)) return false;
  auto const found = static_cast<std::int64_t>(value * static_cast<float>(bins));
  bin = found < bins ? found : bins - 1;
  return true;
}

/// Blocks count 2048 tokens each in shared memory, then add to the whole: integers, so the order does not matter.
__global__ void __launch_bounds__(block_threads)
    count_bins(float const* values, std::int64_t count, std::int64_t bins, unsigned long long* counts) {
  auto* const block_counts = reinterpret_cast<unsigned*>(dynamic_shared());
  for (std::int64_t i = threadIdx.x; i < bins; i += block_threads) block_counts[i] = 0;
  __syncthreads();
  std::int64_t const begin = static_cast<std::int64_t>(blockIdx.x) * (block_threads * 8) + threadIdx.x;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    std::int64_t const t = begin + i * block_threads;
    std::int64_t bin = 0;
    if (t < count && bin_of(values[t], bins, bin)) atomicAdd(block_counts + bin, 1U);
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < bins; i += block_threads) {
    if (block_counts[i] != 0) atomicAdd(counts + i, static_cast<unsigned long long>(block_counts[i]));
  }
}

/// The same for any number of bins, straight into the whole.
__global__ void __launch_bounds__(block_threads)
    count_many_bins(float const* values, std::int64_t count, std::int64_t bins, unsigned long long* counts) {
  std::int64_t const t = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  std::int64_t bin = 0;
  if (t < count && bin_of(values[t], bins, bin)) atomicAdd(counts + bin, 1ULL);
}

/// Blocks stride over the values, 4 packs of 16 bytes per thread under way; the last elements, fewer than a pack, are
/// the first block's. Bytes per element: 4, the floor.
template <int width>
__global__ void __launch_bounds__(block_threads) sum_squares(float const* values, std::int64_t count, double* parts) {
  __shared__ double shared[block_warps];
  std::int64_t const packs = count / width;
  std::int64_t const step = static_cast<std::int64_t>(gridDim.x) * block_threads;
  double sum[1] = {};
  std::int64_t const begin = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  for (std::int64_t pack = begin; pack < packs; pack += step * packs_ahead) {
    Raw<float, width> raw[packs_ahead];
#pragma unroll
    for (int p = 0; p < packs_ahead; ++p) {
      bool const there = pack + p * step < packs;
      raw[p] = there ? load<float, width, Reuse::never>(values + (pack + p * step) * width) : Raw<float, width>{};
    }
#pragma unroll
    for (int p = 0; p < packs_ahead; ++p) {
      auto const floats = to_floats(raw[p]);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        auto const value = static_cast<double>(floats.values[i]);
        sum[0] += value * value;
      }
    }
  }
  if (std::int64_t const last = packs * width + begin; last < count) {
    auto const value = static_cast<double>(values[last]);
    sum[0] += value * value;
  }
  block_sum<block_warps, 1>(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum[0];
}

double* reserve_parts(Context const& context, std::int64_t count) {
  return static_cast<double*>(context.workspace->reserve(static_cast<std::size_t>(count) * sizeof(double)));
}

}  // namespace

void add_angular_sums(Context const& context, AngularRows const& rows, Tensor const& previous_norm,
                      Tensor const& sums) {
  std::int64_t const tokens = rows.norm.columns;
  if (tokens == 0) return;
  auto const row = [](Tensor const& tensor) { return static_cast<float const*>(tensor.data); };
  TokenRows const token_rows{row(rows.norm), row(rows.displacement), row(rows.update_norm), row(previous_norm)};
  std::int64_t const blocks = groups_of(block_threads * tokens_per_thread, tokens);
  double* const parts = reserve_parts(context, blocks * angular_sums);
  launch(sum_angular_rows, blocks_for(blocks, 1), block_threads, 0, context.stream, token_rows, tokens, parts);
  launch(add_parts<angular_sums>, 1, block_threads, 0, context.stream, parts, blocks, sums.as<double>());
}

void add_histogram(Context const& context, Tensor const& displacement, Tensor const& counts) {
  std::int64_t const tokens = displacement.columns;
  std::int64_t const bins = counts.columns;
  auto* const totals = reinterpret_cast<unsigned long long*>(counts.as<std::int64_t>());
  if (bins <= most_shared_bins) {
    launch(count_bins, blocks_for(tokens, block_threads * 8), block_threads,
           static_cast<std::size_t>(bins) * sizeof(unsigned), context.stream, displacement.as<float>(), tokens, bins,
           totals);
  } else {
    launch(count_many_bins, blocks_for(tokens, block_threads), block_threads, 0, context.stream,
           displacement.as<float>(), tokens, bins, totals);
  }
}

void add_squares(Context const& context, Tensor const& values, Tensor const& sum) {
  std::int64_t const count = values.size();
  if (count == 0) return;
  constexpr int full = full_width<float>;
  // The tail is added apart, so that only the beginning has to be aligned.
  bool const aligned = reinterpret_cast<std::uintptr_t>(values.data) % 16 == 0;
  std::int64_t const packs = count / (aligned ? full : 1);
  // As many blocks as run at once, 2048 threads per multiprocessor, as far as there is work for them.
  std::int64_t const most = context.multiprocessors * std::int64_t{2048 / block_threads};
  std::int64_t const blocks = std::clamp<std::int64_t>(groups_of(block_threads * packs_ahead, packs), 1, most);
  double* const parts = reserve_parts(context, blocks);
  launch(aligned ? sum_squares<full> : sum_squares<1>, blocks_for(blocks, 1), block_threads, 0, context.stream,
         values.as<float>(), count, parts);
  launch(add_parts<1>, 1, block_threads, 0, context.stream, parts, blocks, sum.as<double>());
}

}  // namespace jreg::backend::cuda
