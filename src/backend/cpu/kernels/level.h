#pragma once

// The kernels of this folder are compiled once per instruction set, each time into a namespace of its own
// (JREG_KERNEL_LEVEL), and chosen at run time. A function that the linker could merge with one of the rest of the
// program must not be compiled here: it would carry this level's instructions everywhere. So kernels read the plain
// members of Tensor and of the argument structs, and call nothing but this namespace and the compiler's builtins.

#include <cstdint>

#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

void residual_norm(ResidualNorm const& args, Range tokens);
void norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed, Range tokens);
void norm_backward(NormBackward const& args, float* gain_partial, Range tokens);
void rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation, Range tokens);
void swiglu(Tensor const& gate_up, Tensor const& out, Range tokens);
void swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out, Range tokens);
void logits_max(Tensor const& logits, std::int64_t columns, Tensor const& maximum, Range tokens);
void logits_sum(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                Tensor const& targets, Tensor const& sums, Range tokens);
void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t columns, Tensor const& maximum,
                     Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient, Range tokens);
void angular_sums(AngularRows const& rows, Tensor const& previous_norm, double* sums, Range tokens);
void embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row, Tensor const& dtable,
                        Range columns);
void adamw(AdamW const& args, Range elements);
double squares(float const* values, Range elements);
void add_partials(float const* partials, std::int64_t count, std::int64_t columns, float* out, Range elements);
void to_bf16(float const* from, bfloat16* to, std::int64_t count);
void to_f32(bfloat16 const* from, float* to, std::int64_t count);
std::int64_t attention_scratch(AttentionShape const& shape);
void attention(AttentionArgs const& args, std::int64_t unit, float* scratch);
std::int64_t attention_backward_scratch(AttentionShape const& shape);
void attention_backward(AttentionArgs const& args, std::int64_t unit, float* scratch);
double multiply_add(std::int64_t rounds, float* values);
double bf16_dot(std::int64_t rounds, float* values);

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
