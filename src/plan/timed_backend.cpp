#include "plan/timed_backend.h"

#include <chrono>

namespace jreg::plan {

using backend::Tensor;
using backend::rehearsal::Operation;

double TimedBackend::seconds() const {
  double sum = 0;
  for (Spent const& spent : spent_) sum += spent.seconds;
  return sum;
}

void TimedBackend::clear() {
  spent_ = {};
  operations_ = 0;
}

template <class... Formal, class... Actual>
void TimedBackend::run(void (Ops::*operation)(Formal...), Actual const&... arguments) {
  trace_.clear();
  (static_cast<Ops&>(account_).*operation)(arguments...);
  auto const begin = std::chrono::steady_clock::now();
  (inner_.ops().*operation)(arguments...);
  inner_.synchronize();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto const& done = std::get<Operation>(trace_.events.front());
  Spent& spent = spent_.at(static_cast<std::size_t>(done.work));
  spent.seconds += seconds;
  spent.flop += done.flop;
  spent.bytes += done.bytes;
  ++operations_;
}

void TimedBackend::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  run(&Ops::linear, x, w, y);
}
void TimedBackend::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  run(&Ops::linear_input_gradient, dy, w, dx, accumulate);
}
void TimedBackend::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  run(&Ops::linear_weight_gradient, dy, x, dw);
}
void TimedBackend::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  run(&Ops::embedding, tokens, table, first_row, out);
}
void TimedBackend::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                      Tensor const& dtable) {
  run(&Ops::embedding_backward, tokens, dout, first_row, dtable);
}
void TimedBackend::residual_norm(backend::ResidualNorm const& args) {
  run(&Ops::residual_norm, args);
}
void TimedBackend::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  run(&Ops::norm_again, hidden, gain, rstd, normed);
}
void TimedBackend::norm_backward(backend::NormBackward const& args) {
  run(&Ops::norm_backward, args);
}
void TimedBackend::rope(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                        Tensor const& cosine, Tensor const& sine, backend::Direction direction) {
  run(&Ops::rope, shape, qkv, first, cosine, sine, direction);
}
void TimedBackend::attention(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                             Tensor const& out, Tensor const& log_sum_exp) {
  run(&Ops::attention, shape, qkv, first, out, log_sum_exp);
}
void TimedBackend::attention_backward(backend::AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                      Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                                      Tensor const& dqkv) {
  run(&Ops::attention_backward, shape, qkv, first, out, log_sum_exp, dout, dqkv);
}
void TimedBackend::swiglu(Tensor const& gate_up, Tensor const& out) {
  run(&Ops::swiglu, gate_up, out);
}
void TimedBackend::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  run(&Ops::swiglu_backward, gate_up, dout, out);
}
void TimedBackend::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  run(&Ops::logits_max, logits, first, vocab, maximum);
}
void TimedBackend::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                              Tensor const& targets, Tensor const& sums) {
  run(&Ops::logits_sum, logits, first, vocab, maximum, targets, sums);
}
void TimedBackend::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                                   Tensor const& sums, Tensor const& targets, float scale) {
  run(&Ops::logits_gradient, logits, first, vocab, maximum, sums, targets, scale);
}
void TimedBackend::add_token_losses(Tensor const& sums, Tensor const& loss) {
  run(&Ops::add_token_losses, sums, loss);
}
void TimedBackend::add_angular_sums(backend::AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  run(&Ops::add_angular_sums, rows, previous_norm, sums);
}
void TimedBackend::add_histogram(Tensor const& displacement, Tensor const& counts) {
  run(&Ops::add_histogram, displacement, counts);
}
void TimedBackend::adamw(backend::AdamW const& args) {
  run(&Ops::adamw, args);
}
void TimedBackend::add_squares(Tensor const& values, Tensor const& sum) {
  run(&Ops::add_squares, values, sum);
}
void TimedBackend::zero(Tensor const& values) {
  run(&Ops::zero, values);
}
void TimedBackend::copy(Tensor const& from, Tensor const& to) {
  run(&Ops::copy, from, to);
}

}  // namespace jreg::plan
