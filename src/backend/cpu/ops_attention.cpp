#include "backend/argument_checks.h"
#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/parallel.h"

namespace jreg::backend::cpu {

namespace {

/// The first token that each token attends to is none of the future, and never falls along a sequence.
void check_first(AttentionShape const& shape, Tensor const& first) {
  if (!first) return;
  auto const* const keys = first.as<std::int32_t>();
  for (std::int64_t token = 0; token < shape.tokens(); ++token) {
    std::int64_t const position = token % shape.sequence;
    std::int32_t const lowest = position == 0 ? 0 : keys[token - 1];
    expect(lowest <= keys[token] && keys[token] <= position,
           "the first token that attention sees never falls and is none of the future");
  }
}

}  // namespace

float* CpuOps::thread_scratch(std::int64_t floats, std::int64_t& stride) {
  stride = (floats + 1023) / 1024 * 1024;  // threads never share a page
  auto const threads = static_cast<std::size_t>(omp_get_max_threads());
  return static_cast<float*>(scratch_.reserve(threads * static_cast<std::size_t>(stride) * sizeof(float)));
}

void CpuOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) {
  check_rope(shape, qkv, first, rotation);
  check_first(shape, first);
  parallel_ranges(qkv.rows, 16, [&](Range range) { kernels_.rope(shape, qkv, first, rotation, range); });
}

void CpuOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                       Tensor const& log_sum_exp) {
  check_attention(shape, qkv, first, out, log_sum_exp);
  check_first(shape, first);
  AttentionArgs const args{shape, qkv, first, out, log_sum_exp, {}, {}, {}};
  std::int64_t stride = 0;
  float* const scratch = thread_scratch(kernels_.attention_scratch(shape), stride);
  std::int64_t const chunks = (shape.sequence + attention_chunk - 1) / attention_chunk;
  parallel_units(chunks * shape.batch * shape.kv_heads, [&](std::int64_t unit, std::int64_t thread) {
    kernels_.attention(args, unit, scratch + thread * stride);
  });
}

void CpuOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                                Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                                Tensor const& dqkv) {
  check_attention_backward(shape, qkv, first, out, log_sum_exp, dout, rotation, dqkv);
  check_first(shape, first);
  AttentionArgs const args{shape, qkv, first, out, log_sum_exp, dout, rotation, dqkv};
  std::int64_t stride = 0;
  float* const scratch = thread_scratch(kernels_.attention_backward_scratch(shape), stride);
  parallel_units(shape.batch * shape.kv_heads, [&](std::int64_t unit, std::int64_t thread) {
    kernels_.attention_backward(args, unit, scratch + thread * stride);
  });
}

}  // namespace jreg::backend::cpu
