#pragma once

#include <array>

#include "backend/backend.h"
#include "backend/rehearsal/rehearsal_ops.h"

namespace jreg::plan {

/// What the operations of one kind did, and how long they took.
struct Spent {
  double seconds = 0;
  double flop = 0;
  double bytes = 0;
};

/// Another backend, whose operations are timed and accounted for as a rehearsal accounts for them.
class TimedBackend : public backend::Backend, private backend::Ops {
public:
  explicit TimedBackend(backend::Backend& inner) : inner_{inner}, account_{trace_} {}

  Spent const& spent(backend::rehearsal::Work work) const { return spent_.at(static_cast<std::size_t>(work)); }
  std::int64_t operations() const noexcept { return operations_; }
  double seconds() const;
  void clear();

  char const* name() const override { return inner_.name(); }
  std::string description() const override { return inner_.description(); }
  backend::Ops& ops() override { return *this; }
  std::unique_ptr<backend::Collective> connect(MPI_Comm group) override { return inner_.connect(group); }
  void* allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void deallocate(void* memory, std::size_t bytes) noexcept override { inner_.deallocate(memory, bytes); }
  void copy_to_host(void* host, void const* memory, std::size_t bytes) override {
    inner_.copy_to_host(host, memory, bytes);
  }
  void copy_from_host(void* memory, void const* host, std::size_t bytes) override {
    inner_.copy_from_host(memory, host, bytes);
  }
  void synchronize() override { inner_.synchronize(); }
  std::size_t logits_bytes() const override { return inner_.logits_bytes(); }
  std::size_t bytes_in_use() const override { return inner_.bytes_in_use(); }
  std::size_t peak_bytes() const override { return inner_.peak_bytes(); }

private:
  using Tensor = backend::Tensor;
  template <class... Formal, class... Actual> void run(void (Ops::*operation)(Formal...), Actual const&... arguments);

  void linear(Tensor const& x, Tensor const& w, Tensor const& y) override;
  void linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) override;
  void linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) override;
  void embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) override;
  void embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                          Tensor const& dtable) override;
  void residual_norm(backend::ResidualNorm const& args) override;
  void norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) override;
  void norm_backward(backend::NormBackward const& args) override;
  void rope(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& cosine,
            Tensor const& sine, backend::Direction direction) override;
  void attention(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                 Tensor const& log_sum_exp) override;
  void attention_backward(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                          Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                          Tensor const& dqkv) override;
  void swiglu(Tensor const& gate_up, Tensor const& out) override;
  void swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) override;
  void logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) override;
  void logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                  Tensor const& targets, Tensor const& sums) override;
  void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                       Tensor const& sums, Tensor const& targets, float scale) override;
  void add_token_losses(Tensor const& sums, Tensor const& loss) override;
  void add_angular_sums(backend::AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) override;
  void add_histogram(Tensor const& displacement, Tensor const& counts) override;
  void adamw(backend::AdamW const& args) override;
  void add_squares(Tensor const& values, Tensor const& sum) override;
  void zero(Tensor const& values) override;
  void copy(Tensor const& from, Tensor const& to) override;

  backend::Backend& inner_;
  backend::rehearsal::Trace trace_;
  backend::rehearsal::RehearsalOps account_;
  std::array<Spent, backend::rehearsal::work_names.size()> spent_{};
  std::int64_t operations_ = 0;
};

}  // namespace jreg::plan
