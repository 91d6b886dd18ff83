#pragma once

#include <climits>

#include "backend/cuda/kernels/attention_arguments.h"

namespace jreg::backend::cuda {

/// The first key that a query sees; INT_MAX beyond the sequence: none. `first`: of the sequence.
__device__ inline int lowest_key(std::int32_t const* first, int query, int sequence) {
  if (query >= sequence) return INT_MAX;
  return first == nullptr ? 0 : first[query];
}

/// What the backward pass needs of a query besides its rows.
struct QueryNumber {
  float logarithm;  // of the sum of exponentials, base 2
  float delta;
  int lowest;  // key that is seen
};

/// `row`: batch * heads + head; `first`: of the sequence.
__device__ inline QueryNumber load_number(BrainArguments const& args, std::int64_t row, std::int32_t const* first,
                                          int query) {
  if (query >= args.sequence) return {0, 0, INT_MAX};
  return {args.log_sum_exp[row * args.log_sum_exp_stride + query] * log2_of_e, args.delta[row * args.sequence + query],
          lowest_key(first, query, args.sequence)};
}

/// Those of a tile of queries in shared memory.
template <int queries> struct QueryNumbers {
  float logarithm[queries];
  float delta[queries];
  int lowest[queries];

  __device__ void keep(int query, QueryNumber const& number) {
    if (query >= queries) return;
    logarithm[query] = number.logarithm;
    delta[query] = number.delta;
    lowest[query] = number.lowest;
  }
};

}  // namespace jreg::backend::cuda
