#pragma once

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/reduce.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

/// The numbers of each query of each head, with delta = sum of out * dout: `lanes` lanes to a head, `width` elements
/// each at a time, so that neighbouring lanes read neighbouring addresses. No shared memory, 32 registers, 8 blocks an
/// SM. Floor: out and dout read once, 4 bytes read and 16 written for each head of a token.
template <class T, int width, int lanes>
__global__ void __launch_bounds__(256) number_kernel(AttentionArguments<T> const args, std::int64_t rows) {
  std::int64_t const thread = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  std::int64_t const row = thread / lanes;  // token * heads + head
  int const lane = static_cast<int>(thread % lanes);
  bool const there = row < rows;
  std::int64_t const token = there ? row / args.heads : 0;
  int const head = there ? static_cast<int>(row - token * args.heads) : 0;
  T const* const out = args.out + token * args.out_stride + static_cast<std::int64_t>(head) * args.head_size;
  T const* const dout = args.dout + token * args.dout_stride + static_cast<std::int64_t>(head) * args.head_size;
  float sum = 0;
  for (int i = lane * width; i < args.head_size; i += lanes * width) {
    auto const a = to_floats(load<T, width>(out + i));
    auto const b = to_floats(load<T, width>(dout + i));
#pragma unroll
    for (int j = 0; j < width; ++j) sum = fmaf(a.values[j], b.values[j], sum);
  }
#pragma unroll
  for (int offset = lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(whole_warp, sum, offset);
  if (!there || lane != 0) return;
  std::int64_t const sequence = token / args.sequence;
  std::int64_t const position = token - sequence * args.sequence;
  std::int64_t const own = sequence * args.heads + head;
  float const log_sum_exp = args.log_sum_exp[own * args.log_sum_exp_stride + position];
  args.numbers[own * args.sequence + position] = {log_sum_exp, log_sum_exp * log2_of_e, sum,
                                                  args.first == nullptr ? 0 : args.first[token]};
}

template <class T, int width, int lanes>
void launch_numbers(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args) {
  std::int64_t const rows = shape.tokens() * shape.heads;
  expect(groups_of(256 / lanes, rows) < (std::int64_t{1} << 31U), "attention has less than 2^31 blocks of queries");
  launch(number_kernel<T, width, lanes>, dim3{blocks_for(rows, 256 / lanes)}, dim3{256}, 0, context.stream, args, rows);
}

}  // namespace jreg::backend::cuda
