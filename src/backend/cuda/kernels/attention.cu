#include "backend/cuda/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/kernels/attention_arguments.h"
#include "backend/cuda/kernels/element.cuh"
#include "backend/cuda/kernels/rope.h"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {

namespace {

constexpr std::int64_t cache_bytes = 24 * 1024 * 1024;  // of L2 that keys and values may fill: 40 MB (A100), 50 (H100)
constexpr std::int64_t largest_extent = std::int64_t{1} << 30U;
constexpr std::int64_t largest_blocks = std::int64_t{1} << 31U;  // along x, one less

void check_extents(AttentionShape const& shape) {
  expect(shape.sequence < largest_extent, "a sequence holds less than 2^30 tokens");
  expect(shape.qkv_columns() < largest_extent, "a token has less than 2^30 columns");
}

template <class T>
AttentionArguments<T> arguments_of(AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                   Tensor const& out, Tensor const& log_sum_exp) {
  AttentionArguments<T> args;
  args.qkv = static_cast<T const*>(qkv.data);
  args.qkv_stride = qkv.stride;
  args.first = first ? first.as<std::int32_t>() : nullptr;
  args.out = static_cast<T*>(out.data);
  args.out_stride = out.stride;
  args.log_sum_exp = log_sum_exp.as<float>();
  args.log_sum_exp_stride = log_sum_exp.stride;
  args.sequence = static_cast<int>(shape.sequence);
  args.heads = static_cast<int>(shape.heads);
  args.kv_heads = static_cast<int>(shape.kv_heads);
  args.group = static_cast<int>(shape.heads / shape.kv_heads);
  args.head_size = static_cast<int>(shape.head_size);
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_size)));
  args.scale_base2 = args.scale * log2_of_e;
  return args;
}

/// Whether the tensor cores' kernels take it: bf16, heads of 64 or 128, rows at multiples of 16 bytes.
bool fits_tensor_cores(AttentionShape const& shape, std::initializer_list<Tensor> tensors) {
  if (shape.head_size != 64 && shape.head_size != 128) return false;
  return std::ranges::all_of(tensors, [](Tensor const& tensor) {
    return tensor.dtype == DType::bf16 && allows_width(tensor, full_width<Bf16>);
  });
}

template <class T>
void plain_forward(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                   Tensor const& out, Tensor const& log_sum_exp) {
  attention_plain_forward<T>(context, shape, arguments_of<T>(shape, qkv, first, out, log_sum_exp));
}

template <class T>
AttentionArguments<T> backward_arguments(Context const& context, AttentionShape const& shape, Tensor const& qkv,
                                         Tensor const& first, Tensor const& out, Tensor const& log_sum_exp,
                                         Tensor const& dout, Tensor const& dqkv) {
  auto args = arguments_of<T>(shape, qkv, first, out, log_sum_exp);
  args.dout = static_cast<T const*>(dout.data);
  args.dout_stride = dout.stride;
  args.dqkv = static_cast<T*>(dqkv.data);
  args.dqkv_stride = dqkv.stride;
  auto const queries = static_cast<std::size_t>(shape.tokens() * shape.heads);
  args.numbers = static_cast<QueryNumber*>(context.workspace->reserve(queries * sizeof(QueryNumber)));
  return args;
}

/// Whether the tensor cores' kernels can read the angles: two at a time.
bool allows_angles(Rotation const& rotation) {
  return rotation && allows_width(rotation.cosine, 2) && allows_width(rotation.sine, 2);
}

void add_angles(BrainArguments& args, Rotation const& rotation) {
  args.cosine = rotation.cosine.as<float>();
  args.cosine_stride = rotation.cosine.stride;
  args.sine = rotation.sine.as<float>();
  args.sine_stride = rotation.sine.stride;
}

}  // namespace

TileOrder tile_order(std::int64_t heads, std::int64_t tiles, std::int64_t group, std::int64_t bytes_of_head) {
  expect(heads * tiles < largest_blocks, "attention has less than 2^31 tiles");
  std::int64_t const fitting = cache_bytes / std::max<std::int64_t>(bytes_of_head, 1) / group * group;
  std::int64_t const section = std::clamp(fitting, group, std::max(heads, group));
  expect(section * tiles < 2 * largest_blocks, "a section of heads has less than 2^32 tiles");
  return {static_cast<unsigned>(heads), static_cast<unsigned>(tiles), static_cast<unsigned>(section)};
}

void attention(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
               Tensor const& out, Tensor const& log_sum_exp) {
  check_extents(shape);
  if (shape.tokens() == 0 || shape.heads == 0) return;
  if (fits_tensor_cores(shape, {qkv, out})) {
    attention_tensor_forward(context, shape, arguments_of<Bf16>(shape, qkv, first, out, log_sum_exp));
  } else if (qkv.dtype == DType::bf16) {
    plain_forward<Bf16>(context, shape, qkv, first, out, log_sum_exp);
  } else {
    plain_forward<float>(context, shape, qkv, first, out, log_sum_exp);
  }
}

void attention_backward(Context const& context, AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                        Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                        Tensor const& dqkv) {
  check_extents(shape);
  if (shape.tokens() == 0 || shape.heads == 0) return;
  // Blocks have 99 KB of shared memory at most on GPUs of compute capability 8.6 and 8.9.
  bool const tensor_cores = fits_tensor_cores(shape, {qkv, out, dout, dqkv}) &&
                            attention_tensor_backward_shared(shape.head_size) <= context.shared_per_block;
  bool const turns_back = tensor_cores && allows_angles(rotation);
  if (qkv.dtype == DType::bf16) {
    auto args = backward_arguments<Bf16>(context, shape, qkv, first, out, log_sum_exp, dout, dqkv);
    if (turns_back) add_angles(args, rotation);
    tensor_cores ? attention_tensor_backward(context, shape, args) : attention_plain_backward(context, shape, args);
  } else {
    auto const args = backward_arguments<float>(context, shape, qkv, first, out, log_sum_exp, dout, dqkv);
    attention_plain_backward(context, shape, args);
  }
  if (rotation && !turns_back) rope(context, shape, dqkv, first, rotation, Turn::back);
}

}  // namespace jreg::backend::cuda
