#include "backend/argument_checks.h"

#include <numeric>

#include "base/error.h"

namespace jreg::backend {

namespace {

using Place = std::source_location;

void expect_shape(Tensor const& tensor, std::int64_t rows, std::int64_t columns, char const* name,
                  Place where = Place::current()) {
  expect_equal(tensor.rows, rows, name, where);
  expect_equal(tensor.columns, columns, name, where);
  expect(tensor.data != nullptr || tensor.size() == 0, name, where);
}

void expect_tensor(Tensor const& tensor, DType dtype, std::int64_t rows, std::int64_t columns, char const* name,
                   Place where = Place::current()) {
  expect_shape(tensor, rows, columns, name, where);
  expect(tensor.dtype == dtype, name, where);
}

/// A (1, count) f32 tensor of one number a token.
void expect_token_row(Tensor const& tensor, std::int64_t count, char const* name, Place where = Place::current()) {
  expect_tensor(tensor, DType::f32, 1, count, name, where);
}

/// A (rows, columns) tensor of activations: f32 or bf16, as `like`.
void expect_activation(Tensor const& tensor, Tensor const& like, std::int64_t rows, std::int64_t columns,
                       char const* name, Place where = Place::current()) {
  expect_shape(tensor, rows, columns, name, where);
  expect(tensor.dtype == like.dtype && (like.dtype == DType::f32 || like.dtype == DType::bf16), name, where);
}

void expect_angular_gradient(AngularGradient const& angular, Tensor const& hidden) {
  expect_token_row(angular.norm, hidden.rows, "norm of hidden states");
  if (angular.previous) {
    expect_activation(angular.previous, hidden, hidden.rows, hidden.columns, "previous hidden states");
    expect_token_row(angular.previous_norm, hidden.rows, "norm of previous hidden states");
    expect_token_row(angular.displacement, hidden.rows, "displacement");
  }
  if (angular.next) {
    expect_activation(angular.next, hidden, hidden.rows, hidden.columns, "next hidden states");
    expect_token_row(angular.next_norm, hidden.rows, "norm of next hidden states");
    expect_token_row(angular.next_displacement, hidden.rows, "next displacement");
  }
}

void expect_heads(AttentionShape const& shape, Tensor const& qkv, Tensor const& first) {
  expect(shape.batch >= 0 && shape.sequence >= 1 && shape.head_size >= 2 && shape.head_size % 2 == 0,
         "attention has at least one token a sequence and an even head size");
  expect(shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0, "query heads are a multiple of key/value heads");
  expect_activation(qkv, qkv, shape.tokens(), shape.qkv_columns(), "queries, keys and values");
  if (first) expect_tensor(first, DType::i32, 1, shape.tokens(), "first tokens that attention sees");
}

}  // namespace

void check_product(Tensor const& a, bool a_transposed, Tensor const& b, bool b_transposed, Tensor const& y) {
  expect(a.dtype == b.dtype && (a.dtype == DType::f32 || a.dtype == DType::bf16),
         "factors of a matrix product are both fp32 or both bf16");
  expect(y.dtype == DType::f32 || y.dtype == a.dtype, "a matrix product is fp32 or of its factors' type");
  std::int64_t const inner = a_transposed ? a.rows : a.columns;
  expect_equal(a_transposed ? a.columns : a.rows, y.rows, "rows of a matrix product");
  expect_equal(b_transposed ? b.rows : b.columns, y.columns, "columns of a matrix product");
  expect_equal(b_transposed ? b.columns : b.rows, inner, "inner size of a matrix product");
  expect(inner > 0 || y.size() == 0, "a matrix product sums over something");
}

void check_weight_gradient(Tensor const& dw) {
  expect(dw.dtype == DType::f32, "gradients of weights are fp32");
}

void check_embedding(Tensor const& tokens, Tensor const& table, Tensor const& out) {
  expect_tensor(tokens, DType::i32, 1, out.rows, "tokens of an embedding");
  expect_activation(out, table, out.rows, table.columns, "output of an embedding");
}

void check_embedding_backward(Tensor const& tokens, Tensor const& dout, Tensor const& dtable) {
  expect_tensor(tokens, DType::i32, 1, dout.rows, "tokens of an embedding");
  expect_activation(dout, dout, dout.rows, dtable.columns, "gradient of an embedding's output");
  expect(dtable.dtype == DType::f32, "the gradient of an embedding is fp32");
}

void check_residual_norm(ResidualNorm const& args) {
  std::int64_t const tokens = args.residual.rows;
  std::int64_t const columns = args.residual.columns;
  expect_activation(args.residual, args.residual, tokens, columns, "residual");
  if (args.delta) {
    expect_activation(args.delta, args.residual, tokens, columns, "delta");
    expect_activation(args.hidden, args.residual, tokens, columns, "hidden");
  }
  if (args.gain) {
    expect_activation(args.gain, args.residual, 1, columns, "gain");
    expect_activation(args.normed, args.residual, tokens, columns, "normed");
    expect_token_row(args.rstd, tokens, "rstd");
  }
  if (!args.angular.norm) return;
  expect_token_row(args.angular.norm, tokens, "norm of hidden states");
  if (!args.previous) return;
  expect_activation(args.previous, args.residual, tokens, columns, "previous hidden states");
  expect_token_row(args.previous_norm, tokens, "norm of previous hidden states");
  expect_token_row(args.angular.displacement, tokens, "displacement");
  expect_token_row(args.angular.update_norm, tokens, "update norm");
}

void check_norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  expect_activation(gain, hidden, 1, hidden.columns, "gain");
  expect_activation(normed, hidden, hidden.rows, hidden.columns, "normed");
  expect_token_row(rstd, hidden.rows, "rstd");
}

void check_norm_backward(NormBackward const& args) {
  std::int64_t const tokens = args.hidden_gradient.rows;
  std::int64_t const columns = args.hidden_gradient.columns;
  expect_activation(args.hidden, args.hidden_gradient, tokens, columns, "hidden");
  if (args.has_angular) expect_angular_gradient(args.angular, args.hidden);
  if (!args.normed_gradient) return;
  expect_activation(args.normed_gradient, args.hidden, tokens, columns, "normed gradient");
  expect_activation(args.gain, args.hidden, 1, columns, "gain");
  expect_token_row(args.rstd, tokens, "rstd");
  expect_token_row(args.gain_gradient, columns, "gain gradient");
}

void check_rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) {
  expect_heads(shape, qkv, first);
  expect_tensor(rotation.cosine, DType::f32, shape.sequence, shape.head_size / 2, "cosine of RoPE");
  expect_tensor(rotation.sine, DType::f32, shape.sequence, shape.head_size / 2, "sine of RoPE");
}

void check_attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                     Tensor const& log_sum_exp) {
  expect_heads(shape, qkv, first);
  expect_activation(out, qkv, shape.tokens(), shape.query_columns(), "output of attention");
  expect_tensor(log_sum_exp, DType::f32, shape.batch * shape.heads, shape.sequence, "log of attention's sums");
}

void check_attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                              Tensor const& log_sum_exp, Tensor const& dout, Rotation const& rotation,
                              Tensor const& dqkv) {
  check_attention(shape, qkv, first, out, log_sum_exp);
  if (rotation) check_rope(shape, dqkv, first, rotation);
  expect_activation(dout, qkv, shape.tokens(), shape.query_columns(), "gradient of attention's output");
  expect_activation(dqkv, qkv, shape.tokens(), shape.qkv_columns(), "gradient of queries, keys and values");
}

void check_swiglu(Tensor const& gate_up, Tensor const& out) {
  expect_activation(gate_up, out, out.rows, 2 * out.columns, "gate and up");
}

void check_swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  expect_activation(gate_up, dout, dout.rows, 2 * dout.columns, "gate and up");
  if (out) expect_activation(out, dout, dout.rows, dout.columns, "SwiGLU output");
}

void check_logits_max(Tensor const& logits, Tensor const& maximum) {
  expect(logits.dtype == DType::f32, "logits are fp32");
  expect_token_row(maximum, logits.rows, "largest logit");
}

void check_logits_sum(Tensor const& logits, Tensor const& maximum, Tensor const& targets, Tensor const& sums) {
  check_logits_max(logits, maximum);
  expect_tensor(targets, DType::i32, 1, logits.rows, "targets");
  expect_tensor(sums, DType::f32, 2, logits.rows, "sums of logits");
}

void check_logits_gradient(Tensor const& logits, Tensor const& maximum, Tensor const& sums, Tensor const& targets,
                           Tensor const& gradient) {
  check_logits_sum(logits, maximum, targets, sums);
  expect_activation(gradient, gradient, logits.rows, logits.columns, "gradient of logits");
  expect(gradient.dtype == DType::f32 || gradient.data != logits.data || logits.size() == 0,
         "a gradient of logits in bf16 has memory of its own");
}

void check_add_token_losses(Tensor const& sums, Tensor const& loss) {
  expect_tensor(sums, DType::f32, 2, sums.columns, "sums of logits");
  expect_tensor(loss, DType::f64, 1, 1, "sum of the losses");
}

void check_add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  std::int64_t const tokens = rows.norm.columns;
  expect_token_row(rows.norm, tokens, "norm of hidden states");
  if (previous_norm) {
    expect_token_row(previous_norm, tokens, "norm of previous hidden states");
    expect_token_row(rows.displacement, tokens, "displacement");
    expect_token_row(rows.update_norm, tokens, "update norm");
  }
  expect_tensor(sums, DType::f64, 1, angular_sums, "angular sums");
}

void check_add_histogram(Tensor const& displacement, Tensor const& counts) {
  expect_token_row(displacement, displacement.columns, "displacement");
  expect_tensor(counts, DType::i64, 1, counts.columns, "counts of a histogram");
}

void check_adamw(AdamW const& args) {
  std::int64_t const count = args.weight.columns;
  for (Tensor const& tensor : {args.gradient, args.first, args.second}) {
    expect_token_row(tensor, count, "AdamW works on one flat range, with gradient and moments in fp32");
  }
  if (args.weight.dtype != DType::bf16) {
    expect_token_row(args.weight, count, "AdamW's weights are fp32 or bf16");
    if (args.compute) expect_tensor(args.compute, DType::bf16, 1, count, "AdamW's copy of the weights");
    return;
  }
  expect_tensor(args.weight, DType::bf16, 1, count, "AdamW works on one flat range");
  expect(!args.compute, "AdamW's bf16 weights have no copy");
  StochasticRounding const& rounding = args.rounding;
  expect(rounding.run > 0 || count == 0, "elements that are rounded come in runs");
  expect(rounding.first >= 0 && (rounding.run >= count || rounding.stride >= rounding.run),
         "AdamW rounds elements of a tensor in their order");
}

void check_add_squares(Tensor const& values, Tensor const& sum) {
  expect(values.dtype == DType::f32 && values.contiguous(), "a sum of squares is over contiguous fp32 values");
  expect_tensor(sum, DType::f64, 1, 1, "sum of squares");
}

void check_copy(Tensor const& from, Tensor const& to) {
  expect_shape(to, from.rows, from.columns, "copy keeps the shape");
  expect(from.dtype == to.dtype || (from.dtype == DType::f32 && to.dtype == DType::bf16) ||
             (from.dtype == DType::bf16 && to.dtype == DType::f32),
         "copy converts between fp32 and bf16 only");
}

void check_collective(Tensor const& values) {
  expect(values.contiguous(), "collectives work on contiguous tensors");
  expect(values.dtype != DType::i32, "collectives work on f32, f64, bf16 and i64");
}

void check_collective_counts(Tensor const& values, std::span<std::int64_t const> counts, int ranks) {
  check_collective(values);
  expect_equal(static_cast<int>(counts.size()), ranks, "one count a rank");
  expect_equal(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), values.size(), "sum of the counts");
}

void check_collective_parts(Tensor const& full, Tensor const& part, int ranks) {
  check_collective(full);
  check_collective(part);
  expect(full.dtype == part.dtype && full.columns == part.columns, "parts have the type and columns of the whole");
  expect_equal(full.rows, part.rows * ranks, "rows of the whole");
}

}  // namespace jreg::backend
