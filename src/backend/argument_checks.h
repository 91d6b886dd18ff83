#pragma once

#include <span>

#include "backend/ops.h"

namespace jreg::backend {

// What every backend asks of the arguments of its operations and collectives: shapes and types as ops.h and
// collective.h have them. Each throws InternalError where something does not fit. Limits of one backend's kernels stand
// beside them.

/// y = a b, each as it stands or transposed.
void check_product(Tensor const& a, bool a_transposed, Tensor const& b, bool b_transposed, Tensor const& y);
/// What linear_weight_gradient asks beyond its product.
void check_weight_gradient(Tensor const& dw);

void check_embedding(Tensor const& tokens, Tensor const& table, Tensor const& out);
void check_embedding_backward(Tensor const& tokens, Tensor const& dout, Tensor const& dtable);

void check_residual_norm(ResidualNorm const& args);
void check_norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed);
void check_norm_backward(NormBackward const& args);

// The values in `first` are looked at by backends that can read them.
void check_rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation);
void check_attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                     Tensor const& log_sum_exp);
void check_attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                              Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                              Tensor const& dqkv);

void check_swiglu(Tensor const& gate_up, Tensor const& out);
void check_swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out);

void check_logits_max(Tensor const& logits, Tensor const& maximum);
void check_logits_sum(Tensor const& logits, Tensor const& maximum, Tensor const& targets, Tensor const& sums);
void check_logits_gradient(Tensor const& logits, Tensor const& maximum, Tensor const& sums, Tensor const& targets,
                           Tensor const& gradient);
void check_add_token_losses(Tensor const& sums, Tensor const& loss);

void check_add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums);
void check_add_histogram(Tensor const& displacement, Tensor const& counts);

void check_adamw(AdamW const& args);
void check_add_squares(Tensor const& values, Tensor const& sum);
void check_copy(Tensor const& from, Tensor const& to);

void check_collective(Tensor const& values);
/// `values` are cut into one piece a rank.
void check_collective_counts(Tensor const& values, std::span<std::int64_t const> counts, int ranks);
/// `full` holds one part a rank.
void check_collective_parts(Tensor const& full, Tensor const& part, int ranks);

}  // namespace jreg::backend
