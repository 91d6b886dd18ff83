#pragma once

#include <cstdint>

#include "base/random.h"

namespace jreg::data {

/// Which tokens a sample covers: a pure function of (seed, global sample index), so that the data order is the same on
/// every mesh and a resumed run needs no state but the index. Sample = sequence_length + 1 tokens, of which the last is
/// also the first of its neighbour in the file.
class Sampler {
public:
  /// Shuffled windows, in a new order each epoch; sources of a mixture have orders of their own. Throws UserError when
  /// `tokens` do not fill one sample.
  Sampler(std::int64_t tokens, std::int64_t sequence_length, std::int64_t seed, std::size_t source = 0);

  std::int64_t sequence_length() const noexcept { return sequence_length_; }
  std::int64_t samples_per_epoch() const noexcept { return samples_; }
  /// First token of sample `global_index` >= 0 (which goes on counting over epochs).
  std::int64_t token_offset(std::int64_t global_index) const;

private:
  std::int64_t sequence_length_;
  std::int64_t samples_;
  RandomStream epochs_;  // epoch -> key of its permutation
};

}  // namespace jreg::data
