#pragma once

#include <cstdint>
#include <vector>

#include "backend/ops.h"

namespace jreg::backend::cpu {

/// [begin, end) of rows or elements.
struct Range {
  std::int64_t begin;
  std::int64_t end;
};

struct AttentionArgs {
  AttentionShape shape;
  Tensor qkv;
  Tensor first;
  Tensor out;
  Tensor log_sum_exp;
  Tensor dout;        // backward only
  Rotation rotation;  // backward only
  Tensor dqkv;        // backward only
};

/// Tokens whose gradients of a norm's gain are summed together before the sums are added in order: a constant, so
/// that the result does not depend on the number of threads.
constexpr std::int64_t gain_chunk = 64;
/// Query rows of one unit of attention's forward pass.
constexpr std::int64_t attention_chunk = 256;

/// The inner loops, for one instruction set. Every call works on a range on the calling thread and touches nothing
/// outside of it; argument meanings are those of Ops.
struct KernelTable {
  char const* name;  // "generic", "v3", "v4", "v4_bf16": x86-64-v4 and AVX512-BF16

  // Ranges of tokens.
  void (*residual_norm)(ResidualNorm const& args, Range tokens);
  void (*norm_again)(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed, Range tokens);
  /// gain_partial (H) += this range's part of the gain's gradient.
  void (*norm_backward)(NormBackward const& args, float* gain_partial, Range tokens);
  void (*rope)(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation,
               Range tokens);
  void (*swiglu)(Tensor const& gate_up, Tensor const& out, Range tokens);
  void (*swiglu_backward)(Tensor const& gate_up, Tensor const& dout, Tensor const& out, Range tokens);

  /// `columns`: how many of the logits' columns are no padding.
  void (*logits_max)(Tensor const& logits, std::int64_t columns, Tensor const& maximum, Range tokens);
  void (*logits_sum)(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                     Tensor const& targets, Tensor const& sums, Range tokens);
  void (*logits_gradient)(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                          Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient, Range tokens);

  /// sums[angular_sums] += the range's part.
  void (*angular_sums)(AngularRows const& rows, Tensor const& previous_norm, double* sums, Range tokens);

  /// A range of columns: every thread walks all tokens.
  void (*embedding_backward)(Tensor const& tokens, Tensor const& dout, std::int64_t first_row, Tensor const& dtable,
                             Range columns);

  // Ranges of elements.
  void (*adamw)(AdamW const& args, Range elements);
  double (*squares)(float const* values, Range elements);
  /// out[i] += sum of partials[c * columns + i] over c = 0 .. count-1, in that order, for i in `elements`.
  void (*add_partials)(float const* partials, std::int64_t count, std::int64_t columns, float* out, Range elements);
  void (*to_bf16)(float const* from, bfloat16* to, std::int64_t count);
  void (*to_f32)(bfloat16 const* from, float* to, std::int64_t count);

  // Attention: floats of scratch a thread needs, then one unit of work. Units of the forward pass are
  // (batch, key/value head, chunk of queries), those of the backward pass (batch, key/value head).
  std::int64_t (*attention_scratch)(AttentionShape const& shape);
  void (*attention)(AttentionArgs const& args, std::int64_t unit, float* scratch);
  std::int64_t (*attention_backward_scratch)(AttentionShape const& shape);
  void (*attention_backward)(AttentionArgs const& args, std::int64_t unit, float* scratch);

  // Nothing but arithmetic on registers, starting from values[0..5]; leaves a sum in values[0]. Returns the floating
  // point operations done.
  double (*multiply_add)(std::int64_t rounds, float* values);
  /// Needs AVX512-BF16 beyond the table's own instructions; 0 and nothing done at levels below AVX-512.
  double (*bf16_dot)(std::int64_t rounds, float* values);
};

/// The tables this processor can run, the fastest last.
std::vector<KernelTable const*> supported_kernels();

}  // namespace jreg::backend::cpu
