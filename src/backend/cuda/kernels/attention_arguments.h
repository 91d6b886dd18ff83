#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/context.h"
#include "backend/ops.h"

namespace jreg::backend::cuda {

/// What the backward pass needs of a query besides its rows; one access of 16 bytes.
struct alignas(16) QueryNumber {
  float log_sum_exp;  // natural
  float logarithm;    // the same in base 2
  float delta;        // sum of out * dout
  int lowest;         // first key that is seen
};

/// What the kernels of attention work on, for activations of type T: device memory, strides in elements. Heads of one
/// token stand next to each other: queries, then keys, then values in `qkv` and `dqkv`.
template <class T> struct AttentionArguments {
  T const* qkv = nullptr;
  std::int64_t qkv_stride = 0;
  std::int32_t const* first = nullptr;  // (tokens), or null: 0 everywhere
  T* out = nullptr;                     // written by the forward pass alone
  std::int64_t out_stride = 0;
  float* log_sum_exp = nullptr;  // (batch * heads, sequence); written by the forward pass alone
  std::int64_t log_sum_exp_stride = 0;
  T const* dout = nullptr;
  std::int64_t dout_stride = 0;
  T* dqkv = nullptr;
  std::int64_t dqkv_stride = 0;
  float const* cosine = nullptr;  // of Rotation; null: gradients are written as they are
  std::int64_t cosine_stride = 0;
  float const* sine = nullptr;
  std::int64_t sine_stride = 0;
  QueryNumber* numbers = nullptr;  // (batch * heads, sequence), contiguous
  int sequence = 0;
  int heads = 0;
  int kv_heads = 0;
  int group = 0;  // query heads of one key/value head
  int head_size = 0;
  float scale = 0;        // 1 / sqrt(head_size)
  float scale_base2 = 0;  // the same for exponents of 2

  /// Columns in which key head and value head `kv_head` begin.
  __host__ __device__ int key_column(int kv_head) const { return (heads + kv_head) * head_size; }
  __host__ __device__ int value_column(int kv_head) const { return (heads + kv_heads + kv_head) * head_size; }
};

constexpr float log2_of_e = 1.4426950408889634F;

/// Which tile of which head a block takes. Blocks start in the order of their number, so work is sorted twice: heads
/// come in sections whose keys and values fit the L2 cache together, and within a section the heaviest tiles of all its
/// heads come first, the light ones filling the end.
struct TileOrder {
  unsigned heads = 0;    // all of them: batch * heads of a token
  unsigned tiles = 0;    // of each head
  unsigned section = 1;  // heads of a section

  struct Place {
    unsigned head;
    unsigned rank;  // of the tile, 0 is the heaviest
  };
  __device__ Place operator()(unsigned block) const {
    unsigned const blocks_of_section = section * tiles;
    unsigned const begin = block / blocks_of_section * section;
    unsigned const here = heads - begin < section ? heads - begin : section;
    unsigned const rest = block % blocks_of_section;
    return {begin + rest % here, rest / here};
  }
};

/// `bytes_of_head`: what blocks of one head read again and again. Sections hold whole groups of `group` heads.
TileOrder tile_order(std::int64_t heads, std::int64_t tiles, std::int64_t group, std::int64_t bytes_of_head);

// bf16 with heads of 64 or 128 on tensor cores; addresses and strides of rows are multiples of 16 bytes, those of
// cosine and sine of 8. The backward pass turns gradients back where it is given angles.
using BrainArguments = AttentionArguments<__nv_bfloat16>;
void attention_tensor_forward(Context const& context, AttentionShape const& shape, BrainArguments const& args);
void attention_tensor_backward(Context const& context, AttentionShape const& shape, BrainArguments const& args);
/// Bytes of dynamic shared memory that its blocks take at most, by head size.
std::size_t attention_tensor_backward_shared(std::int64_t head_size);
// Its two parts, once the numbers are there: the query columns of dqkv, and its key and value columns.
void attention_query_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args);
void attention_key_gradient(Context const& context, AttentionShape const& shape, BrainArguments const& args);

// Any even head size, no alignment but the elements'. Turns nothing.
template <class T>
void attention_plain_forward(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args);
template <class T>
void attention_plain_backward(Context const& context, AttentionShape const& shape, AttentionArguments<T> const& args);

}  // namespace jreg::backend::cuda
