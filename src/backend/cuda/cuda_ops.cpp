#include "backend/cuda/cuda_ops.h"

#include "backend/argument_checks.h"
#include "backend/cuda/kernels/adamw.h"
#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/cross_entropy.h"
#include "backend/cuda/kernels/embedding.h"
#include "backend/cuda/kernels/memory.h"
#include "backend/cuda/kernels/norm.h"
#include "backend/cuda/kernels/rope.h"
#include "backend/cuda/kernels/statistics.h"
#include "backend/cuda/kernels/swiglu.h"

namespace jreg::backend::cuda {

void CudaOps::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  products_.multiply(context_, x, false, w, true, y, false);
}

void CudaOps::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  products_.multiply(context_, dy, false, w, false, dx, accumulate);
}

void CudaOps::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  check_weight_gradient(dw);
  products_.multiply(context_, dy, true, x, false, dw, true);
}

void CudaOps::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  check_embedding(tokens, table, out);
  cuda::embedding(context_, tokens, table, first_row, out);
}

void CudaOps::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                 Tensor const& dtable) {
  check_embedding_backward(tokens, dout, dtable);
  cuda::embedding_backward(context_, tokens, dout, first_row, dtable);
}

void CudaOps::residual_norm(ResidualNorm const& args) {
  check_residual_norm(args);
  cuda::residual_norm(context_, args);
}

void CudaOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  check_norm_again(hidden, gain, rstd, normed);
  cuda::norm_again(context_, hidden, gain, rstd, normed);
}

void CudaOps::norm_backward(NormBackward const& args) {
  if (!args.normed_gradient && !args.has_angular && !args.overwrite) return;
  check_norm_backward(args);
  cuda::norm_backward(context_, args);
}

void CudaOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) {
  check_rope(shape, qkv, first, rotation);
  cuda::rope(context_, shape, qkv, first, rotation, Turn::forward);
}

void CudaOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                        Tensor const& log_sum_exp) {
  check_attention(shape, qkv, first, out, log_sum_exp);
  cuda::attention(context_, shape, qkv, first, out, log_sum_exp);
}

void CudaOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                                 Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                                 Tensor const& dqkv) {
  check_attention_backward(shape, qkv, first, out, log_sum_exp, dout, rotation, dqkv);
  cuda::attention_backward(context_, shape, qkv, first, out, log_sum_exp, dout, rotation, dqkv);
}

void CudaOps::swiglu(Tensor const& gate_up, Tensor const& out) {
  check_swiglu(gate_up, out);
  cuda::swiglu(context_, gate_up, out);
}

void CudaOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  check_swiglu_backward(gate_up, dout, out);
  cuda::swiglu_backward(context_, gate_up, dout, out);
}

void CudaOps::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  check_logits_max(logits, maximum);
  cuda::logits_max(context_, logits, first, vocab, maximum);
}

void CudaOps::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                         Tensor const& targets, Tensor const& sums) {
  check_logits_sum(logits, maximum, targets, sums);
  cuda::logits_sum(context_, logits, first, vocab, maximum, targets, sums);
}

void CudaOps::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                              Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) {
  check_logits_gradient(logits, maximum, sums, targets, gradient);
  cuda::logits_gradient(context_, logits, first, vocab, maximum, sums, targets, scale, gradient);
}

void CudaOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  check_add_token_losses(sums, loss);
  cuda::add_token_losses(context_, sums, loss);
}

void CudaOps::add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  check_add_angular_sums(rows, previous_norm, sums);
  cuda::add_angular_sums(context_, rows, previous_norm, sums);
}

void CudaOps::add_histogram(Tensor const& displacement, Tensor const& counts) {
  check_add_histogram(displacement, counts);
  cuda::add_histogram(context_, displacement, counts);
}

void CudaOps::adamw(AdamW const& args) {
  check_adamw(args);
  cuda::adamw(context_, args);
}

void CudaOps::add_squares(Tensor const& values, Tensor const& sum) {
  check_add_squares(values, sum);
  cuda::add_squares(context_, values, sum);
}

void CudaOps::zero(Tensor const& values) {
  cuda::zero(context_, values);
}

void CudaOps::copy(Tensor const& from, Tensor const& to) {
  check_copy(from, to);
  cuda::copy(context_, from, to);
}

}  // namespace jreg::backend::cuda
