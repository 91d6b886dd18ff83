#include "backend/profiled_ops.h"

#include <fmt/format.h>

#include <algorithm>

namespace jreg::backend {

namespace {

double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (Tensor const& tensor : tensors) {
    if (tensor) bytes += static_cast<double>(tensor.bytes());
  }
  return bytes;
}

OperationCost product(std::int64_t m, std::int64_t n, std::int64_t k, double bytes) {
  return {2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k), bytes};
}

/// Of `products` products over the causal half of every head's scores; documents are not looked at.
OperationCost causal(AttentionShape const& shape, int products, double bytes) {
  double const pairs = static_cast<double>(shape.sequence) * static_cast<double>(shape.sequence + 1) / 2;
  double const heads = static_cast<double>(shape.batch * shape.heads);
  return {2.0 * products * heads * pairs * static_cast<double>(shape.head_size), bytes};
}

}  // namespace

std::vector<OperationTotal> ProfiledOps::totals() const {
  std::vector<OperationTotal> all;
  for (auto const& [key, total] : totals_) {
    auto const& [name, first, second, third] = key;
    std::string shape = fmt::format("{} x {}", first, second);
    if (third != 0) shape += fmt::format(" x {}", third);
    all.push_back({name, std::move(shape), total.calls, total.seconds, total.cost});
  }
  std::ranges::sort(all, std::greater{}, &OperationTotal::seconds);
  return all;
}

void ProfiledOps::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  timed({"linear", x.rows, w.columns, w.rows}, product(x.rows, w.rows, w.columns, bytes_of({x, w, y})),
        [&](Ops& ops) { ops.linear(x, w, y); });
}

void ProfiledOps::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  double const bytes = bytes_of({dy, w, dx, accumulate ? dx : Tensor{}});
  timed({"linear_input_gradient", dy.rows, w.rows, w.columns}, product(dy.rows, w.columns, w.rows, bytes),
        [&](Ops& ops) { ops.linear_input_gradient(dy, w, dx, accumulate); });
}

void ProfiledOps::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  timed({"linear_weight_gradient", dw.rows, dy.rows, dw.columns},
        product(dw.rows, dw.columns, dy.rows, bytes_of({dy, x, dw, dw})),
        [&](Ops& ops) { ops.linear_weight_gradient(dy, x, dw); });
}

void ProfiledOps::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  timed({"embedding", out.rows, out.columns, 0}, {0, bytes_of({tokens, out, out})},
        [&](Ops& ops) { ops.embedding(tokens, table, first_row, out); });
}

void ProfiledOps::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                     Tensor const& dtable) {
  // Each token's row of the table, read and written in fp32.
  double const rows = 2.0 * static_cast<double>(dout.size()) * sizeof(float);
  timed({"embedding_backward", dout.rows, dout.columns, 0}, {0, bytes_of({tokens, dout}) + rows},
        [&](Ops& ops) { ops.embedding_backward(tokens, dout, first_row, dtable); });
}

void ProfiledOps::residual_norm(ResidualNorm const& args) {
  double const bytes = bytes_of({args.residual, args.delta, args.delta ? args.hidden : Tensor{},
                                 args.gain ? args.normed : Tensor{}, args.angular.norm ? args.previous : Tensor{}});
  timed({"residual_norm", args.residual.rows, args.residual.columns, 0}, {0, bytes},
        [&](Ops& ops) { ops.residual_norm(args); });
}

void ProfiledOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  timed({"norm_again", hidden.rows, hidden.columns, 0}, {0, bytes_of({hidden, normed})},
        [&](Ops& ops) { ops.norm_again(hidden, gain, rstd, normed); });
}

void ProfiledOps::norm_backward(NormBackward const& args) {
  Tensor const& dh = args.hidden_gradient;
  bool const angular = args.has_angular;
  double const bytes = bytes_of({args.normed_gradient, args.hidden, dh, args.overwrite ? Tensor{} : dh,
                                 angular ? args.angular.previous : Tensor{}, angular ? args.angular.next : Tensor{}});
  timed({"norm_backward", dh.rows, dh.columns, 0}, {0, bytes}, [&](Ops& ops) { ops.norm_backward(args); });
}

void ProfiledOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& cosine,
                       Tensor const& sine, Direction direction) {
  Tensor const turned = qkv.column_range(0, (shape.heads + shape.kv_heads) * shape.head_size);
  timed({"rope", turned.rows, turned.columns, 0}, {0, bytes_of({turned, turned})},
        [&](Ops& ops) { ops.rope(shape, qkv, first, cosine, sine, direction); });
}

void ProfiledOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                            Tensor const& log_sum_exp) {
  timed({"attention", shape.batch * shape.heads, shape.sequence, shape.head_size},
        causal(shape, 2, bytes_of({qkv, out, log_sum_exp})),
        [&](Ops& ops) { ops.attention(shape, qkv, first, out, log_sum_exp); });
}

void ProfiledOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                     Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                                     Tensor const& dqkv) {
  timed({"attention_backward", shape.batch * shape.heads, shape.sequence, shape.head_size},
        causal(shape, 5, bytes_of({qkv, out, log_sum_exp, dout, dqkv})),
        [&](Ops& ops) { ops.attention_backward(shape, qkv, first, out, log_sum_exp, dout, dqkv); });
}

void ProfiledOps::swiglu(Tensor const& gate_up, Tensor const& out) {
  timed({"swiglu", out.rows, out.columns, 0}, {0, bytes_of({gate_up, out})},
        [&](Ops& ops) { ops.swiglu(gate_up, out); });
}

void ProfiledOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  timed({"swiglu_backward", dout.rows, dout.columns, 0}, {0, bytes_of({gate_up, gate_up, dout, out})},
        [&](Ops& ops) { ops.swiglu_backward(gate_up, dout, out); });
}

void ProfiledOps::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  timed({"logits_max", logits.rows, logits.columns, 0}, {0, bytes_of({logits})},
        [&](Ops& ops) { ops.logits_max(logits, first, vocab, maximum); });
}

void ProfiledOps::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                             Tensor const& targets, Tensor const& sums) {
  timed({"logits_sum", logits.rows, logits.columns, 0}, {0, bytes_of({logits})},
        [&](Ops& ops) { ops.logits_sum(logits, first, vocab, maximum, targets, sums); });
}

void ProfiledOps::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                                  Tensor const& sums, Tensor const& targets, float scale) {
  timed({"logits_gradient", logits.rows, logits.columns, 0}, {0, bytes_of({logits, logits})},
        [&](Ops& ops) { ops.logits_gradient(logits, first, vocab, maximum, sums, targets, scale); });
}

void ProfiledOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  timed({"add_token_losses", sums.rows, sums.columns, 0}, {0, bytes_of({sums})},
        [&](Ops& ops) { ops.add_token_losses(sums, loss); });
}

void ProfiledOps::add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  double const bytes = bytes_of({rows.norm, previous_norm, previous_norm ? rows.displacement : Tensor{},
                                 previous_norm ? rows.update_norm : Tensor{}});
  timed({"add_angular_sums", rows.norm.rows, rows.norm.columns, 0}, {0, bytes},
        [&](Ops& ops) { ops.add_angular_sums(rows, previous_norm, sums); });
}

void ProfiledOps::add_histogram(Tensor const& displacement, Tensor const& counts) {
  timed({"add_histogram", displacement.rows, displacement.columns, 0}, {0, bytes_of({displacement})},
        [&](Ops& ops) { ops.add_histogram(displacement, counts); });
}

void ProfiledOps::adamw(AdamW const& args) {
  double const bytes = bytes_of(
      {args.weight, args.weight, args.gradient, args.first, args.first, args.second, args.second, args.compute});
  timed({"adamw", args.weight.rows, args.weight.columns, 0}, {0, bytes}, [&](Ops& ops) { ops.adamw(args); });
}

void ProfiledOps::add_squares(Tensor const& values, Tensor const& sum) {
  timed({"add_squares", values.rows, values.columns, 0}, {0, bytes_of({values})},
        [&](Ops& ops) { ops.add_squares(values, sum); });
}

void ProfiledOps::zero(Tensor const& values) {
  timed({"zero", values.rows, values.columns, 0}, {0, bytes_of({values})}, [&](Ops& ops) { ops.zero(values); });
}

void ProfiledOps::copy(Tensor const& from, Tensor const& to) {
  timed({"copy", from.rows, from.columns, 0}, {0, bytes_of({from, to})}, [&](Ops& ops) { ops.copy(from, to); });
}

}  // namespace jreg::backend
