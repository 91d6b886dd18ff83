#pragma once

#include "oracle/matrix.h"

namespace jreg::oracle {

/// -log softmax(logits)[target] of each token over the first `vocab` columns.
template <class S>
Matrix<S> token_losses(Matrix<S> const& logits, std::vector<std::int32_t> const& targets, std::int64_t vocab) {
  using std::exp;
  using std::log;
  Matrix<S> losses(1, logits.rows);
  for (std::int64_t t = 0; t < logits.rows; ++t) {
    double largest = -1e300;
    for (std::int64_t i = 0; i < vocab; ++i) largest = std::max(largest, real_part(logits(t, i)));
    S sum{};
    for (std::int64_t i = 0; i < vocab; ++i) sum += exp(logits(t, i) - largest);
    losses(0, t) = log(sum) + largest - logits(t, targets[static_cast<std::size_t>(t)]);
  }
  return losses;
}

}  // namespace jreg::oracle
