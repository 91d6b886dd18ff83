#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/shape_checks.h"

namespace jreg::backend::cpu {

namespace {

void check_shape(AttentionShape const& shape, Tensor const& qkv, Tensor const& first) {
  expect(shape.batch >= 0 && shape.sequence >= 1 && shape.head_size >= 2 && shape.head_size % 2 == 0,
         "attention has at least one token a sequence and an even head size");
  expect(shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0, "query heads are a multiple of key/value heads");
  expect_activation(qkv, qkv, shape.tokens(), shape.qkv_columns(), "queries, keys and values");
  if (!first) return;
  expect_shape(first, 1, shape.tokens(), "first tokens that attention sees");
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

void CpuOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& cosine,
                  Tensor const& sine, Direction direction) {
  check_shape(shape, qkv, first);
  expect_shape(cosine, shape.sequence, shape.head_size / 2, "cosine of RoPE");
  expect_shape(sine, shape.sequence, shape.head_size / 2, "sine of RoPE");
  expect(cosine.dtype == DType::f32 && sine.dtype == DType::f32, "angles of RoPE are fp32");
  float const sign = direction == Direction::forward ? 1.0F : -1.0F;
  parallel_ranges(qkv.rows, 16, [&](Range range) { kernels_.rope(shape, qkv, first, cosine, sine, sign, range); });
}

void CpuOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                       Tensor const& log_sum_exp) {
  check_shape(shape, qkv, first);
  expect_activation(out, qkv, shape.tokens(), shape.query_columns(), "output of attention");
  expect_shape(log_sum_exp, shape.batch * shape.heads, shape.sequence, "log of attention's sums");
  expect(log_sum_exp.dtype == DType::f32, "log of attention's sums is fp32");
  AttentionArgs const args{shape, qkv, first, out, log_sum_exp, {}, {}};
  std::int64_t stride = 0;
  float* const scratch = thread_scratch(kernels_.attention_scratch(shape), stride);
  std::int64_t const chunks = (shape.sequence + attention_chunk - 1) / attention_chunk;
  parallel_units(chunks * shape.batch * shape.kv_heads, [&](std::int64_t unit, std::int64_t thread) {
    kernels_.attention(args, unit, scratch + thread * stride);
  });
}

void CpuOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                                Tensor const& log_sum_exp, Tensor const& dout, Tensor const& dqkv) {
  check_shape(shape, qkv, first);
  expect_activation(out, qkv, shape.tokens(), shape.query_columns(), "output of attention");
  expect_activation(dout, qkv, shape.tokens(), shape.query_columns(), "gradient of attention's output");
  expect_activation(dqkv, qkv, shape.tokens(), shape.qkv_columns(), "gradient of queries, keys and values");
  expect_shape(log_sum_exp, shape.batch * shape.heads, shape.sequence, "log of attention's sums");
  AttentionArgs const args{shape, qkv, first, out, log_sum_exp, dout, dqkv};
  std::int64_t stride = 0;
  float* const scratch = thread_scratch(kernels_.attention_backward_scratch(shape), stride);
  parallel_units(shape.batch * shape.kv_heads, [&](std::int64_t unit, std::int64_t thread) {
    kernels_.attention_backward(args, unit, scratch + thread * stride);
  });
}

}  // namespace jreg::backend::cpu
