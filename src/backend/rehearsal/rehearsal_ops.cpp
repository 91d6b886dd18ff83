#include "backend/rehearsal/rehearsal_ops.h"

namespace jreg::backend::rehearsal {
namespace {

double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (Tensor const& tensor : tensors) {
    if (tensor) bytes += static_cast<double>(tensor.bytes());
  }
  return bytes;
}

/// Of the scores under the causal mask and one more product as large: what attention's forward pass multiplies.
double causal_flop(AttentionShape const& shape) {
  double const pairs = static_cast<double>(shape.sequence) * static_cast<double>(shape.sequence + 1) / 2;
  return 4 * static_cast<double>(shape.batch * shape.heads * shape.head_size) * pairs;
}

}  // namespace

void RehearsalOps::add(Work work, DType dtype, double flop, std::initializer_list<Tensor> tensors) {
  trace_.events.emplace_back(Operation{work, dtype, flop, bytes_of(tensors)});
}

void RehearsalOps::add_product(Tensor const& x, Tensor const& w, Tensor const& y, std::int64_t inner, bool accumulate) {
  double const flop = 2.0 * static_cast<double>(y.size()) * static_cast<double>(inner);
  add(Work::product, x.dtype, flop, {x, w, y, accumulate ? y : Tensor{}});
}

void RehearsalOps::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  add_product(x, w, y, x.columns, false);
}

void RehearsalOps::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  add_product(dy, w, dx, dy.columns, accumulate);
}

void RehearsalOps::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  add_product(dy, x, dw, dy.rows, true);
}

void RehearsalOps::embedding(Tensor const& tokens, Tensor const& /*table*/, std::int64_t /*first_row*/,
                             Tensor const& out) {
  add(Work::embedding, out.dtype, 0, {tokens, out, out});  // as many bytes of the table are read
}

void RehearsalOps::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t /*first_row*/,
                                      Tensor const& /*dtable*/) {
  Tensor const rows{dout.data, DType::f32, dout.rows, dout.columns};  // of the table, read and written
  add(Work::other, dout.dtype, 0, {tokens, dout, rows, rows});
}

void RehearsalOps::residual_norm(ResidualNorm const& args) {
  Tensor const absent;
  bool const angular = static_cast<bool>(args.angular.norm);
  add(Work::norm, args.residual.dtype, 0,
      {args.residual, args.delta, args.delta ? args.hidden : absent, args.gain, args.gain ? args.rstd : absent,
       args.gain ? args.normed : absent, args.angular.norm, args.angular.displacement, args.angular.update_norm,
       angular ? args.previous : absent, angular ? args.previous_norm : absent});
}

void RehearsalOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  add(Work::norm, hidden.dtype, 0, {hidden, gain, rstd, normed});
}

void RehearsalOps::norm_backward(NormBackward const& args) {
  Tensor const absent;
  AngularGradient const angular = args.has_angular ? args.angular : AngularGradient{};
  bool const norm = static_cast<bool>(args.normed_gradient);
  add(Work::norm, args.hidden.dtype, 0,
      {args.normed_gradient, args.hidden, norm ? args.gain : absent, norm ? args.rstd : absent, args.hidden_gradient,
       args.overwrite ? absent : args.hidden_gradient, norm ? args.gain_gradient : absent,
       norm ? args.gain_gradient : absent, angular.norm, angular.previous, angular.previous_norm, angular.displacement,
       angular.next, angular.next_norm, angular.next_displacement});
}

void RehearsalOps::rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) {
  Tensor const rotated = qkv.column_range(0, (shape.heads + shape.kv_heads) * shape.head_size);
  add(Work::rope, qkv.dtype, 0, {rotated, rotated, first, rotation.cosine, rotation.sine});
}

void RehearsalOps::attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                             Tensor const& log_sum_exp) {
  add(Work::attention, qkv.dtype, causal_flop(shape), {qkv, first, out, log_sum_exp});
}

void RehearsalOps::attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                      Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                                      Rotation const& rotation, Tensor const& dqkv) {
  // Five products where the forward pass has two: the scores again, and gradients of v, probabilities, q and k.
  add(Work::attention_backward, qkv.dtype, 2.5 * causal_flop(shape),
      {qkv, first, out, log_sum_exp, dout, rotation.cosine, rotation.sine, dqkv});
}

void RehearsalOps::swiglu(Tensor const& gate_up, Tensor const& out) {
  add(Work::swiglu, gate_up.dtype, 0, {gate_up, out});
}

void RehearsalOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  add(Work::swiglu, gate_up.dtype, 0, {gate_up, gate_up, dout, out});
}

void RehearsalOps::logits_max(Tensor const& logits, std::int64_t /*first*/, std::int64_t /*vocab*/,
                              Tensor const& maximum) {
  add(Work::classifier, logits.dtype, 0, {logits, maximum});
}

void RehearsalOps::logits_sum(Tensor const& logits, std::int64_t /*first*/, std::int64_t /*vocab*/,
                              Tensor const& maximum, Tensor const& targets, Tensor const& sums) {
  add(Work::classifier, logits.dtype, 0, {logits, maximum, targets, sums});
}

void RehearsalOps::logits_gradient(Tensor const& logits, std::int64_t /*first*/, std::int64_t /*vocab*/,
                                   Tensor const& maximum, Tensor const& sums, Tensor const& targets, float /*scale*/,
                                   Tensor const& gradient) {
  add(Work::classifier, logits.dtype, 0, {logits, gradient, maximum, sums, targets});
}

void RehearsalOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  add(Work::other, sums.dtype, 0, {sums, loss});
}

void RehearsalOps::add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  add(Work::other, DType::f32, 0, {rows.norm, rows.displacement, rows.update_norm, previous_norm, sums});
}

void RehearsalOps::add_histogram(Tensor const& displacement, Tensor const& counts) {
  add(Work::other, DType::f32, 0, {displacement, counts});
}

void RehearsalOps::adamw(AdamW const& args) {
  add(Work::optimizer, DType::f32, 0,
      {args.weight, args.weight, args.compute, args.gradient, args.first, args.first, args.second, args.second});
}

void RehearsalOps::add_squares(Tensor const& values, Tensor const& /*sum*/) {
  add(Work::optimizer, DType::f32, 0, {values});
}

void RehearsalOps::zero(Tensor const& values) {
  add(Work::other, values.dtype, 0, {values});
}

void RehearsalOps::copy(Tensor const& from, Tensor const& to) {
  add(Work::other, from.dtype, 0, {from, to});
}

}  // namespace jreg::backend::rehearsal
