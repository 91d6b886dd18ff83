#pragma once

#include <cstdint>
#include <vector>

namespace jreg::data {

/// Which source each sample of a mixture comes from: a pure function of the weights and the global sample index. Among
/// the first k samples, for every k, the number of each source differs by less than 1 from k * weight / sum of weights:
/// the quota sequence of R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980) 323-330. With
/// n sources of shares w that sum to 1 and counts x before sample k (k = 1, 2, ...), that sample comes from the source
/// with the least (1 - 1/(2n-2) - s) / w, s = w k - x, among those with s >= 1/(2n-2).
/// Weights count as whole shares of at most 13 digits, so that nothing is rounded on the way: 0.7 and 0.3 are 7 and 3.
/// The sequence repeats after as many samples as the shares sum to.
class Mixture {
public:
  /// At least one weight; none negative, one positive. Throws UserError when one is too small beside the largest to
  /// be told from 0.
  explicit Mixture(std::vector<double> const& weights);

  struct Place {
    std::size_t source;
    std::int64_t index;  // which of this source's samples, from 0
  };
  /// Where sample `global_index` >= 0 lies. Walks from the place asked for before, or from the start of the period.
  Place at(std::int64_t global_index);

  /// Weight / sum of weights.
  double proportion(std::size_t source) const;
  /// Samples after which sources repeat in the same order.
  std::int64_t period() const noexcept { return period_; }

private:
  void start(std::int64_t period_index);
  std::size_t choose() const;
  void step();

  std::vector<std::int64_t> shares_;
  std::vector<std::size_t> drawn_;  // sources with a share
  std::int64_t period_ = 0;         // sum of the shares
  // Before sample position_:
  std::int64_t position_ = 0;
  std::vector<std::int64_t> counts_;  // samples of each source
  std::vector<std::int64_t> leads_;   // shares_ * (position_ + 1) - period_ * counts_
};

}  // namespace jreg::data
