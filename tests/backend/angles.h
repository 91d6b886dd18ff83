#pragma once

#include <cmath>

#include "backend/backend_test.h"
#include "oracle/attention.h"

namespace jreg::backend {

/// Random angles of RoPE, (sequence, head_size/2), for the oracle and in a backend's memory.
class Angles {
public:
  Angles(Backend& backend, AttentionShape const& shape, std::int64_t gap = 0)
      : cosine_{oracle::random_matrix("angle", shape.sequence, shape.head_size / 2, 3)},
        sine_{cosine_},
        cosines_{backend, DType::f32, cosine_.rows, cosine_.columns, gap},
        sines_{backend, DType::f32, cosine_.rows, cosine_.columns, gap} {
    for (double& value : cosine_.values) value = std::cos(value);
    for (double& value : sine_.values) value = std::sin(value);
    cosines_.fill(cosine_);
    sines_.fill(sine_);
  }

  Rotation rotation() const { return {cosines_, sines_}; }

  /// Query and key heads turned.
  template <class S>
  oracle::Matrix<S> turned(oracle::Heads const& heads, oracle::Matrix<S> const& qkv, oracle::First const& first) const {
    return oracle::rope(heads, qkv, first, cosine_, sine_);
  }
  /// And back.
  oracle::Real turned_back(oracle::Heads const& heads, oracle::Real const& qkv, oracle::First const& first) const {
    oracle::Real against = sine_;
    for (double& value : against.values) value = -value;
    return oracle::rope(heads, qkv, first, cosine_, against);
  }

  /// The same for any x near `qkv`, with what rounding made of it: `stored` for x = qkv.
  template <class S>
  oracle::Matrix<S> turned_near(oracle::Heads const& heads, oracle::Matrix<S> const& x, oracle::First const& first,
                                oracle::Real const& qkv, oracle::Real const& stored) const {
    oracle::Matrix<S> result = turned(heads, x, first);
    oracle::Real const exact = turned(heads, qkv, first);
    for (std::size_t i = 0; i < result.values.size(); ++i) result.values[i] += stored.values[i] - exact.values[i];
    return result;
  }

private:
  oracle::Real cosine_;
  oracle::Real sine_;
  GuardedTensor cosines_;
  GuardedTensor sines_;
};

}  // namespace jreg::backend
