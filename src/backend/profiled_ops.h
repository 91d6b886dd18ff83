#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "backend/backend.h"
#include "backend/rehearsal/rehearsal_ops.h"

namespace jreg::backend {

/// All calls of one operation on one shape.
struct OperationTotal {
  std::string name;  // as in Ops
  std::string shape;
  rehearsal::Work work = rehearsal::Work::other;
  std::int64_t calls = 0;
  double seconds = 0;
  double flop = 0;   // that these calls, as a rehearsal counts them, have to do at least
  double bytes = 0;  // between memory and the arithmetic; the same
};

/// Another backend's operations, each timed from start to end and counted. Operations on one shape share an entry.
class ProfiledOps : public Ops {
public:
  /// Calls what `backend` computes with and waits for it after every call.
  explicit ProfiledOps(Backend& backend) : backend_{backend}, account_{trace_} {}

  /// Since the last clear(), the longest first.
  std::vector<OperationTotal> totals() const;
  void clear() { totals_.clear(); }

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
  using Key = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;  // name, up to three sizes

  template <class... Formal, class... Actual>
  void timed(Key const& key, void (Ops::*operation)(Formal...), Actual const&... arguments);

  Backend& backend_;
  rehearsal::Trace trace_;  // of the operation that is timed
  rehearsal::RehearsalOps account_;
  std::map<Key, OperationTotal> totals_;
};

/// Another backend with profiled operations; everything else is the other's.
class ProfiledBackend : public Backend {
public:
  explicit ProfiledBackend(Backend& backend) : backend_{backend}, ops_{backend} {}

  ProfiledOps& profile() noexcept { return ops_; }

  char const* name() const override { return backend_.name(); }
  std::string description() const override { return backend_.description(); }
  Ops& ops() override { return ops_; }
  std::unique_ptr<Collective> connect(MPI_Comm group) override { return backend_.connect(group); }
  void* allocate(std::size_t bytes) override { return backend_.allocate(bytes); }
  void deallocate(void* memory, std::size_t bytes) noexcept override { backend_.deallocate(memory, bytes); }
  void copy_to_host(void* host, void const* memory, std::size_t bytes) override {
    backend_.copy_to_host(host, memory, bytes);
  }
  void copy_from_host(void* memory, void const* host, std::size_t bytes) override {
    backend_.copy_from_host(memory, host, bytes);
  }
  void synchronize() override { backend_.synchronize(); }
  double arithmetic_peak(DType dtype) override { return backend_.arithmetic_peak(dtype); }
  std::size_t logits_bytes() const override { return backend_.logits_bytes(); }
  std::string exclusive_device() const override { return backend_.exclusive_device(); }
  std::vector<LibraryVersion> library_versions() const override { return backend_.library_versions(); }
  void abandon() noexcept override { backend_.abandon(); }
  void begin_range(char const* name) override { backend_.begin_range(name); }
  void end_range() noexcept override { backend_.end_range(); }
  void record_profile(bool on) override { backend_.record_profile(on); }
  std::size_t bytes_in_use() const override { return backend_.bytes_in_use(); }
  std::size_t peak_bytes() const override { return backend_.peak_bytes(); }

private:
  Backend& backend_;
  ProfiledOps ops_;
};

}  // namespace jreg::backend
