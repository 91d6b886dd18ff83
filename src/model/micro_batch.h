#pragma once

#include <cstdint>
#include <vector>

#include "backend/tensor.h"

namespace jreg::model {

/// Tokens [begin, end) of a micro-batch.
struct TokenRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Sequences of one micro-batch of this data rank, on the backend.
struct MicroBatch {
  backend::Tensor tokens;   // (1, sequences * sequence_length) i32
  backend::Tensor targets;  // (1, sequences * sequence_length) i32: the tokens that follow
  backend::Tensor first;    // (1, sequences * sequence_length) i32: where in its sequence each token's document begins
                            // (see Ops::attention); absent: tokens see all that precede them in their sequence
  std::int64_t sequences = 0;
  std::vector<TokenRange> counted;  // rising: the tokens that losses and statistics are of; empty: all. Not in training
};

}  // namespace jreg::model
