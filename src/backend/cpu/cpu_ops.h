#pragma once

#include <cstdint>

#include "backend/cpu/host_memory.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matmul.h"

namespace jreg::backend::cpu {

/// The operations on this process's OpenMP threads. Complete on return; needs no MPI.
class CpuOps : public Ops {
public:
  explicit CpuOps(KernelTable const& kernels);

  void linear(Tensor const& x, Tensor const& w, Tensor const& y) override;
  void linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) override;
  void linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) override;

  void embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) override;
  void embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                          Tensor const& dtable) override;

  void residual_norm(ResidualNorm const& args) override;
  void norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) override;
  void norm_backward(NormBackward const& args) override;

  void rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) override;
  void attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                 Tensor const& log_sum_exp) override;
  void attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                          Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                          Tensor const& dqkv) override;

  void swiglu(Tensor const& gate_up, Tensor const& out) override;
  void swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) override;

  void logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) override;
  void logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                  Tensor const& targets, Tensor const& sums) override;
  void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                       Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) override;
  void add_token_losses(Tensor const& sums, Tensor const& loss) override;

  void add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) override;
  void add_histogram(Tensor const& displacement, Tensor const& counts) override;

  void adamw(AdamW const& args) override;
  void add_squares(Tensor const& values, Tensor const& sum) override;
  void zero(Tensor const& values) override;
  void copy(Tensor const& from, Tensor const& to) override;

private:
  /// Floats for every thread; thread t's begin at t * stride.
  float* thread_scratch(std::int64_t floats, std::int64_t& stride);

  KernelTable const& kernels_;
  MatrixProducts products_;
  Scratch scratch_;
};

}  // namespace jreg::backend::cpu
