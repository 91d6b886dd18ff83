#include "backend/profiled_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace jreg::backend {

template <class... Formal, class... Actual>
void ProfiledOps::timed(Key const& key, void (Ops::*operation)(Formal...), Actual const&... arguments) {
  trace_.clear();
  (static_cast<Ops&>(account_).*operation)(arguments...);
  auto const begin = std::chrono::steady_clock::now();
  (backend_.ops().*operation)(arguments...);
  backend_.synchronize();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto const& done = std::get<rehearsal::Operation>(trace_.events.front());
  OperationTotal& total = totals_[key];
  total.work = done.work;
  ++total.calls;
  total.seconds += seconds;
  total.flop += done.flop;
  total.bytes += done.bytes;
}

std::vector<OperationTotal> ProfiledOps::totals() const {
  std::vector<OperationTotal> all;
  for (auto const& [key, total] : totals_) {
    auto const& [name, first, second, third] = key;
    std::string shape = fmt::format("{} x {}", first, second);
    if (third != 0) shape += fmt::format(" x {}", third);
    all.push_back(total);
    all.back().name = name;
    all.back().shape = std::move(shape);
  }
  std::ranges::sort(all, std::greater{}, &OperationTotal::seconds);
  return all;
}

void ProfiledOps::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  timed({"linear", x.rows, w.columns, w.rows}, &Ops::linear, x, w, y);
}

void ProfiledOps::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  timed({"linear_input_gradient", dy.rows, w.rows, w.columns}, &Ops::linear_input_gradient, dy, w, dx, accumulate);
}

void ProfiledOps::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  timed({"linear_weight_gradient", dw.rows, dy.rows, dw.columns}, &Ops::linear_weight_gradient, dy, x, dw);
}

void ProfiledOps::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  timed({"embedding", out.rows, out.columns, 0}, &Ops::embedding, tokens, table, first_row, out);
}

void ProfiledOps::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                     Tensor const& dtable) {
  timed({"embedding_backward", dout.rows, dout.columns, 0}, &Ops::embedding_backward, tokens, dout, first_row, dtable);
}

void ProfiledOps::residual_norm(ResidualNorm const& args) {
  timed({"residual_norm", args.residual.rows, args.residual.columns, 0}, &Ops::residual_norm, args);
}

void ProfiledOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  timed({"norm_again", hidden.rows, hidden.columns, 0}, &Ops::norm_again, hidden, gain, rstd, normed);
}

void ProfiledOps::norm_backward(NormBackward const& args) {
  Tensor const& dh = args.hidden_gradient;
  timed({"norm_backward", dh.rows, dh.columns, 0}, &Ops::norm_backward, args);
}

void ProfiledOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) {
  Tensor const turned = qkv.column_range(0, (shape.heads + shape.kv_heads) * shape.head_size);
  timed({"rope", turned.rows, turned.columns, 0}, &Ops::rope, shape, qkv, first, rotation);
}

void ProfiledOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                            Tensor const& log_sum_exp) {
  timed({"attention", shape.batch * shape.heads, shape.sequence, shape.head_size}, &Ops::attention, shape, qkv, first,
        out, log_sum_exp);
}

void ProfiledOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                     Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                                     Rotation const& rotation, Tensor const& dqkv) {
  timed({"attention_backward", shape.batch * shape.heads, shape.sequence, shape.head_size}, &Ops::attention_backward,
        shape, qkv, first, out, log_sum_exp, dout, rotation, dqkv);
}

void ProfiledOps::swiglu(Tensor const& gate_up, Tensor const& out) {
  timed({"swiglu", out.rows, out.columns, 0}, &Ops::swiglu, gate_up, out);
}

void ProfiledOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  timed({"swiglu_backward", dout.rows, dout.columns, 0}, &Ops::swiglu_backward, gate_up, dout, out);
}

void ProfiledOps::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  timed({"logits_max", logits.rows, logits.columns, 0}, &Ops::logits_max, logits, first, vocab, maximum);
}

void ProfiledOps::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                             Tensor const& targets, Tensor const& sums) {
  timed({"logits_sum", logits.rows, logits.columns, 0}, &Ops::logits_sum, logits, first, vocab, maximum, targets, sums);
}

void ProfiledOps::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                                  Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) {
  timed({"logits_gradient", logits.rows, logits.columns, 0}, &Ops::logits_gradient, logits, first, vocab, maximum, sums,
        targets, scale, gradient);
}

void ProfiledOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  timed({"add_token_losses", sums.rows, sums.columns, 0}, &Ops::add_token_losses, sums, loss);
}

void ProfiledOps::add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  timed({"add_angular_sums", rows.norm.rows, rows.norm.columns, 0}, &Ops::add_angular_sums, rows, previous_norm, sums);
}

void ProfiledOps::add_histogram(Tensor const& displacement, Tensor const& counts) {
  timed({"add_histogram", displacement.rows, displacement.columns, 0}, &Ops::add_histogram, displacement, counts);
}

void ProfiledOps::adamw(AdamW const& args) {
  timed({"adamw", args.weight.rows, args.weight.columns, 0}, &Ops::adamw, args);
}

void ProfiledOps::add_squares(Tensor const& values, Tensor const& sum) {
  timed({"add_squares", values.rows, values.columns, 0}, &Ops::add_squares, values, sum);
}

void ProfiledOps::zero(Tensor const& values) {
  timed({"zero", values.rows, values.columns, 0}, &Ops::zero, values);
}

void ProfiledOps::copy(Tensor const& from, Tensor const& to) {
  timed({"copy", from.rows, from.columns, 0}, &Ops::copy, from, to);
}

}  // namespace jreg::backend
