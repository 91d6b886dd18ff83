#pragma once

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/attention_arguments.h"

namespace jreg::backend::cuda {

/// Gradients of heads that were turned, turned back where `args` has angles: (low, high) <- (low cos + high sin,
/// high cos - low sin). Columns c and c + head_size/2 of a row are sums of the same lane, so nothing is exchanged.
/// `position` gives that of a row in its document; rows from `valid` on are left alone.
/// Reads head_size/2 angles of each row twice over, neighbouring lanes neighbouring addresses: 32 bytes of a row.
template <int m_tiles, int tiles, class Position>
__device__ inline void turn_back(BrainArguments const& args, float (&sums)[m_tiles][tiles][4], Position const& position,
                                 int valid, int lane) {
  if (args.cosine == nullptr) return;
  constexpr int half_head = tiles / 2;  // in tiles of 8 columns
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int const row = 16 * m + 8 * half + lane / 4;
      if (row >= valid) continue;
      std::int64_t const at = position(row);
      float const* const cosines = args.cosine + at * args.cosine_stride + lane % 4 * 2;
      float const* const sines = args.sine + at * args.sine_stride + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < half_head; ++n) {
        auto const cosine = to_floats(load<float, 2, Reuse::constant>(cosines + 8 * n));
        auto const sine = to_floats(load<float, 2, Reuse::constant>(sines + 8 * n));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& low = sums[m][n][2 * half + i];
          float& high = sums[m][n + half_head][2 * half + i];
          float const turned = low * cosine.values[i] + high * sine.values[i];
          high = high * cosine.values[i] - low * sine.values[i];
          low = turned;
        }
      }
    }
  }
}

}  // namespace jreg::backend::cuda
