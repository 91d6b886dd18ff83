#pragma once

#include "backend/tensor.h"

namespace jreg::model {

/// Sequences of one micro-batch of this data rank, on the backend.
struct MicroBatch {
  backend::Tensor tokens;   // (1, sequences * sequence_length) i32
  backend::Tensor targets;  // (1, sequences * sequence_length) i32: the tokens that follow
  backend::Tensor first;    // (1, sequences * sequence_length) i32: where in its sequence each token's document begins
                            // (see Ops::attention); absent: tokens see all that precede them in their sequence
  std::int64_t sequences = 0;
};

}  // namespace jreg::model
