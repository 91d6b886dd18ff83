#pragma once

#include <cstdint>

#include "backend/tensor.h"

namespace jreg::backend {

/// What is recorded of one hidden state h_l of each token, (1, tokens) each, f32.
struct AngularRows {
  Tensor norm;          // |h_l|
  Tensor displacement;  // Psi_l = (1 - cos(h_{l-1}, h_l)) / 2; absent for h_0
  Tensor update_norm;   // |h_l - h_{l-1}|; absent for h_0
};

/// Residual add and RMSNorm in one pass:  h = residual + delta;  rstd = 1/sqrt(mean(h^2) + eps);  normed = h rstd gain.
/// Where `angular` is given, also its rows for h against `previous`, from the values as stored:
///   d = h - previous, s = d.(h + previous) / (|h| + |previous|), Psi = (|d|^2 - s^2) / (4 |h||previous|), in [0, 1];
///   a token with |h| or |previous| < 1e-12 gets Psi = 0.
struct ResidualNorm {
  Tensor residual;  // (T, H)
  Tensor delta;     // (T, H), may be absent: h = residual, and nothing is written to `hidden`
  Tensor hidden;    // (T, H) out: h; may be `residual` itself
  Tensor gain;      // (1, H); absent: no normalisation, `rstd` and `normed` are not written
  Tensor rstd;      // (1, T) f32 out
  Tensor normed;    // (T, H) out
  float eps = 0;
  AngularRows angular;   // out; absent where angular.norm is
  Tensor previous;       // (T, H) h_{l-1}; absent for h_0
  Tensor previous_norm;  // (1, T) f32 |h_{l-1}|
};

/// The gradient that the penalty adds to one hidden state h_l (a function of h_{l-1}, h_l, h_{l+1}):
/// with g_l = lambda/T dR/dPsi_l, c = 1 - 2 Psi,
///   dh_l += -g_l/2     (h_{l-1}/(|h_{l-1}||h_l|) - c_l     h_l/|h_l|^2)      (term of layer l,   h_l as its end)
///   dh_l += -g_{l+1}/2 (h_{l+1}/(|h_l||h_{l+1}|) - c_{l+1} h_l/|h_l|^2)      (term of layer l+1, h_l as its start)
/// Tokens with a norm below 1e-12 get nothing.
struct AngularGradient {
  Tensor norm;                 // (1, T) |h_l|
  Tensor previous;             // (T, H) h_{l-1}; absent: no term of layer l
  Tensor previous_norm;        // (1, T)
  Tensor displacement;         // (1, T) Psi_l
  Tensor next;                 // (T, H) h_{l+1}; absent: no term of layer l+1
  Tensor next_norm;            // (1, T)
  Tensor next_displacement;    // (1, T) Psi_{l+1}
  float coefficient = 0;       // g_l
  float next_coefficient = 0;  // g_{l+1}
};

/// Backward of the norm, added to the gradient that came down the residual stream, and the penalty's gradient:
///   dh += rstd (gain dy - h rstd^2 mean(gain dy h)) + angular;   dgain += sum over tokens of dy h rstd.
struct NormBackward {
  Tensor normed_gradient;  // (T, H) dy; absent: only the angular term is added, nothing else is read or written
  Tensor hidden;           // (T, H) h
  Tensor gain;             // (1, H)
  Tensor rstd;             // (1, T)
  Tensor hidden_gradient;  // (T, H) dh, in and out
  bool overwrite = false;  // dh starts from zero instead of what is there
  Tensor gain_gradient;    // (1, H) f32, in and out
  bool has_angular = false;
  AngularGradient angular;
};

struct AttentionShape {
  std::int64_t batch = 0;     // sequences
  std::int64_t sequence = 0;  // tokens in each
  std::int64_t heads = 0;     // query heads on this rank
  std::int64_t kv_heads = 0;  // key/value heads on this rank; heads is a multiple
  std::int64_t head_size = 0;

  std::int64_t tokens() const { return batch * sequence; }
  std::int64_t query_columns() const { return heads * head_size; }
  std::int64_t qkv_columns() const { return (heads + 2 * kv_heads) * head_size; }
};

/// How heads turn with the position of their token (RoPE, Su et al., arXiv 2104.09864): each pair (i, i + head_size/2)
/// by an angle whose cosine and sine stand at (position, i). The position of token t of a sequence is t - first[t].
struct Rotation {
  Tensor cosine;  // (sequence, head_size/2) f32; absent: heads do not turn
  Tensor sine;    // (sequence, head_size/2) f32

  explicit operator bool() const { return static_cast<bool>(cosine); }
};

/// How AdamW rounds new weights to bf16 where there are no fp32 ones: up or down by chance, without bias. Element i of
/// the range is element e = first + i / run * stride + i % run of its whole tensor, and gets 16 bits r of
///   philox(key, 0, e / 8)    (base/random.h),
/// the lower (e even) or upper half of word e % 8 / 2. The result is the upper half of the fp32 number's 32 bits, as an
/// integer, plus r: of the two bf16 neighbours the one farther from zero with the probability (in 65536ths) of the part
/// that is dropped, and the number itself where bf16 holds it. Behind the largest finite bf16 comes infinity. Infinity
/// and NaN stay what they are.
struct StochasticRounding {
  std::uint64_t key = 0;    // of this tensor at this update
  std::int64_t first = 0;   // index in the whole tensor of the range's first element
  std::int64_t run = 0;     // so many follow one another there: all n, or a row of this rank's columns
  std::int64_t stride = 0;  // from the beginning of a run to that of the next
};

/// One AdamW update of a flat range (Loshchilov & Hutter, arXiv 1711.05101, with bias correction as in PyTorch):
///   g = gradient_scale * gradient;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
///   w -= rate decay w;  w -= rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).
struct AdamW {
  Tensor weight;    // (1, n) in and out: f32, or bf16 where the step has no other weights, rounded by `rounding`
  Tensor compute;   // (1, n) bf16 out: the weights as the step reads them; absent where these are `weight`
  Tensor gradient;  // (1, n) f32
  Tensor first;     // (1, n) f32 m
  Tensor second;    // (1, n) f32 v
  float rate = 0;
  float beta1 = 0;
  float beta2 = 0;
  float eps = 0;
  float decay = 0;
  float correction1 = 1;  // 1 - beta1^t
  float correction2 = 1;  // 1 - beta2^t
  float gradient_scale = 1;
  StochasticRounding rounding;  // of a bf16 weight
};

/// One token's part in the statistics of a layer, summed over tokens in fp64; rows of a (layers + 1, angular_sums)
/// f64 tensor. Row 0 (h_0) holds the norm and the count only.
enum AngularSum : std::int64_t {
  sum_displacement,          // Psi
  sum_displacement_squared,  // Psi^2
  sum_angle,                 // arccos(c) / pi = 2 asin(sqrt(Psi)) / pi
  sum_relative_update,       // |h_l - h_{l-1}| / |h_{l-1}|, 0 for a token with |h_{l-1}| < 1e-12
  sum_norm,                  // |h_l|
  sum_count,                 // tokens
  angular_sums               // how many there are
};

/// The operations of a Llama training step. Each is one call on whole matrices; there is no element algebra.
/// All tensors are f32 or, where a step runs in bf16, bf16 (activations, weights) and f32 (gradients of weights,
/// per-token rows). Sums are f32 at least. Results do not depend on the number of threads' timing: the same call
/// gives the same bits. Operations are ordered; a backend may return before they are done.
class Ops {
public:
  virtual ~Ops() = default;

  // Matrices. x (T, in), w (out, in), y (T, out); column-strided views are allowed.
  /// y = x w^T. y may be f32 while x and w are bf16.
  virtual void linear(Tensor const& x, Tensor const& w, Tensor const& y) = 0;
  /// dx = dy w, or dx += dy w.
  virtual void linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) = 0;
  /// dw += dy^T x; dw is f32.
  virtual void linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) = 0;

  // Embedding. `table` holds rows [first_row, first_row + table.rows) of the vocabulary; other tokens give zeros.
  virtual void embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) = 0;
  /// dtable (f32) += the rows of dout of each token, in token order.
  virtual void embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                  Tensor const& dtable) = 0;

  // Residual stream and norms.
  virtual void residual_norm(ResidualNorm const& args) = 0;
  /// normed = h rstd gain, again, from the rstd that was kept.
  virtual void norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) = 0;
  virtual void norm_backward(NormBackward const& args) = 0;

  // Attention. qkv (tokens, qkv_columns): query heads, then key heads, then value heads of each token.
  // first (1, tokens) i32: for each token the index, within its sequence, of the first token it may attend to, which is
  // the first of its document: at most its own index, and never falling along a sequence. Absent: 0 everywhere.
  /// Turns query and key heads in place.
  virtual void rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation) = 0;
  /// Causal softmax(q k^T / sqrt(head_size)) v over the keys from first[t] to t. out (tokens, query_columns);
  /// log_sum_exp (batch * heads, sequence) f32.
  virtual void attention(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Tensor const& out,
                         Tensor const& log_sum_exp) = 0;
  /// dqkv: the gradient of qkv before `rotation` turned it; of qkv as it stands where `rotation` is absent.
  virtual void attention_backward(AttentionShape const& shape, Tensor const& qkv, Tensor const& first,
                                  Tensor const& out, Tensor const& log_sum_exp, Tensor const& dout,
                                  Rotation const& rotation, Tensor const& dqkv) = 0;

  // SwiGLU. gate_up (T, 2F): gate, then up. out = silu(gate) * up.
  virtual void swiglu(Tensor const& gate_up, Tensor const& out) = 0;
  /// gate_up becomes its own gradient; `out` (may be absent) receives silu(gate) * up again.
  virtual void swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) = 0;

  // Vocabulary-parallel cross entropy over one chunk of tokens. logits (n, columns) f32 hold the vocabulary rows
  // [first, first + columns); columns at or beyond `vocab` are padding and take no part. targets (1, n) i32.
  /// maximum (1, n) f32: largest logit of this rank's columns.
  virtual void logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) = 0;
  /// sums (2, n) f32: row 0: sum of exp(logit - maximum); row 1: logit - maximum of the target, 0 if not this rank's.
  virtual void logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                          Tensor const& targets, Tensor const& sums) = 0;
  /// gradient (n, columns) = scale (softmax - one-hot of the target), padding columns 0: f32, perhaps `logits` itself,
  /// or bf16 in memory of its own; what `logits` holds then is undefined.
  virtual void logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                               Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) = 0;
  /// loss (1, 1) f64 += sum over tokens of log(sums[0]) - sums[1].
  virtual void add_token_losses(Tensor const& sums, Tensor const& loss) = 0;

  // Statistics of the hidden states.
  /// sums (1, angular_sums) f64 += the sums over these tokens. previous_norm is absent for h_0.
  virtual void add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) = 0;
  /// counts (1, bins) i64 += how many tokens have Psi in each of the equal bins of [0, 1] (1 belongs to the last).
  virtual void add_histogram(Tensor const& displacement, Tensor const& counts) = 0;

  // Optimizer and plain memory.
  virtual void adamw(AdamW const& args) = 0;
  /// sum (1, 1) f64 += sum of squares of f32 values.
  virtual void add_squares(Tensor const& values, Tensor const& sum) = 0;
  virtual void zero(Tensor const& values) = 0;
  /// Same shape; converts between f32 and bf16.
  virtual void copy(Tensor const& from, Tensor const& to) = 0;
};

}  // namespace jreg::backend
