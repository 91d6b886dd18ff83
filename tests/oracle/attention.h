#pragma once

#include "oracle/matrix.h"

namespace jreg::oracle {

/// For each token the index, within its sequence, of the first one of its document; empty: 0.
using First = std::vector<std::int32_t>;

inline std::int64_t first_of(First const& first, std::int64_t token) {
  return first.empty() ? 0 : first[static_cast<std::size_t>(token)];
}

struct Heads {
  std::int64_t batch = 1;
  std::int64_t sequence = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_size = 2;
};

/// RoPE in the half-rotated order: pairs (i, i + head_size/2) of every query and key head turn by the angle whose
/// cosine and sine stand at (position in the document, i).
template <class S>
Matrix<S> rope(Heads const& shape, Matrix<S> const& qkv, First const& documents, Real const& cosine, Real const& sine) {
  Matrix<S> out = qkv;
  std::int64_t const half = shape.head_size / 2;
  for (std::int64_t t = 0; t < qkv.rows; ++t) {
    std::int64_t const position = t % shape.sequence - first_of(documents, t);
    for (std::int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      for (std::int64_t i = 0; i < half; ++i) {
        std::int64_t const low = head * shape.head_size + i;
        double const c = cosine(position, i);
        double const s = sine(position, i);
        out(t, low) = qkv(t, low) * c - qkv(t, low + half) * s;
        out(t, low + half) = qkv(t, low + half) * c + qkv(t, low) * s;
      }
    }
  }
  return out;
}

template <class S> struct Attended {
  Matrix<S> out;          // (tokens, heads * head_size)
  Matrix<S> log_sum_exp;  // (batch * heads, sequence)
};

/// One query of one head: out row and log of the sum of exp(score).
template <class S>
void attend(Heads const& shape, Matrix<S> const& qkv, First const& documents, std::int64_t batch, std::int64_t head,
            std::int64_t query, Attended<S>& result) {
  using std::exp;
  using std::log;
  std::int64_t const size = shape.head_size;
  std::int64_t const first = batch * shape.sequence;
  std::int64_t const first_key = first_of(documents, first + query);
  std::int64_t const kv_head = head / (shape.heads / shape.kv_heads);
  std::int64_t const key_column = (shape.heads + kv_head) * size;
  std::int64_t const value_column = (shape.heads + shape.kv_heads + kv_head) * size;
  std::vector<S> scores(static_cast<std::size_t>(query + 1));  // those before first_key stay unused
  double largest = -1e300;
  for (std::int64_t key = first_key; key <= query; ++key) {
    S score{};
    for (std::int64_t i = 0; i < size; ++i)
      score += qkv(first + query, head * size + i) * qkv(first + key, key_column + i);
    score /= std::sqrt(static_cast<double>(size));
    scores[static_cast<std::size_t>(key)] = score;
    largest = std::max(largest, real_part(score));
  }
  S sum{};
  for (std::int64_t key = first_key; key <= query; ++key) {
    S& score = scores[static_cast<std::size_t>(key)];
    score = exp(score - largest);
    sum += score;
  }
  for (std::int64_t i = 0; i < size; ++i) {
    S mean{};
    for (std::int64_t key = first_key; key <= query; ++key) {
      mean += scores[static_cast<std::size_t>(key)] / sum * qkv(first + key, value_column + i);
    }
    result.out(first + query, head * size + i) = mean;
  }
  result.log_sum_exp(batch * shape.heads + head, query) = log(sum) + largest;
}

/// Causal softmax(q k^T / sqrt(head_size)) v with grouped heads, within documents.
template <class S> Attended<S> attention(Heads const& shape, Matrix<S> const& qkv, First const& documents = {}) {
  Attended<S> result{Matrix<S>(shape.batch * shape.sequence, shape.heads * shape.head_size),
                     Matrix<S>(shape.batch * shape.heads, shape.sequence)};
  for (std::int64_t batch = 0; batch < shape.batch; ++batch) {
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      for (std::int64_t query = 0; query < shape.sequence; ++query)
        attend(shape, qkv, documents, batch, head, query, result);
    }
  }
  return result;
}

/// One query's part of the gradients: with w the softmax and s the scores, dv_k += w_k dout,
/// ds_k = w_k (dout . v_k - dout . out), dk_k += ds_k q / sqrt(head_size), dq += ds_k k_k / sqrt(head_size).
inline void attend_backward(Heads const& shape, Real const& qkv, First const& documents,
                            Attended<double> const& forward, Real const& dout, std::int64_t row, std::int64_t query,
                            Real& dqkv) {
  std::int64_t const size = shape.head_size;
  std::int64_t const head = row % shape.heads;
  std::int64_t const first = row / shape.heads * shape.sequence;
  std::int64_t const kv_head = head / (shape.heads / shape.kv_heads);
  std::int64_t const key_column = (shape.heads + kv_head) * size;
  std::int64_t const value_column = (shape.heads + shape.kv_heads + kv_head) * size;
  double const scale = 1.0 / std::sqrt(static_cast<double>(size));
  double delta = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    delta += dout(first + query, head * size + i) * forward.out(first + query, head * size + i);
  }
  for (std::int64_t key = first_of(documents, first + query); key <= query; ++key) {
    double score = 0;
    double through_value = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      score += qkv(first + query, head * size + i) * qkv(first + key, key_column + i);
      through_value += dout(first + query, head * size + i) * qkv(first + key, value_column + i);
    }
    double const weight = std::exp(score * scale - forward.log_sum_exp(row, query));
    double const dscore = weight * (through_value - delta) * scale;
    for (std::int64_t i = 0; i < size; ++i) {
      dqkv(first + key, value_column + i) += weight * dout(first + query, head * size + i);
      dqkv(first + key, key_column + i) += dscore * qkv(first + query, head * size + i);
      dqkv(first + query, head * size + i) += dscore * qkv(first + key, key_column + i);
    }
  }
}

/// All of the gradient of attention's input, where an imaginary step for each element would take too long.
inline Real attention_backward(Heads const& shape, Real const& qkv, First const& documents,
                               Attended<double> const& forward, Real const& dout) {
  Real dqkv(qkv.rows, qkv.columns);
  for (std::int64_t row = 0; row < shape.batch * shape.heads; ++row) {
    for (std::int64_t query = 0; query < shape.sequence; ++query)
      attend_backward(shape, qkv, documents, forward, dout, row, query, dqkv);
  }
  return dqkv;
}

}  // namespace jreg::oracle
