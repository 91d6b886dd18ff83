#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace jreg::jump {

/// Equal bins on [0, 1] of the histogram of Psi over tokens.
inline constexpr std::int64_t histogram_bins = 64;

/// Means over all tokens of a batch. h_0 is the output of the embedding, h_l that of block l, L blocks;
/// c_l = cos(h_{l-1}, h_l). Index 0 of the vectors with L elements is layer 1.
struct JumpStatistics {
  std::vector<double> displacement;     // (L) Psi_l = mean of (1 - c_l) / 2
  std::vector<double> jump_rate;        // (L) zeta_l in percent; the first is NaN
  std::vector<double> angle;            // (L) mean of arccos(c_l) / pi
  std::vector<double> relative_update;  // (L) mean of |h_l - h_{l-1}| / |h_{l-1}|
  std::vector<double> cosine_std;       // (L) standard deviation of c_l over the tokens (population)
  std::vector<double> hidden_norm;      // (L + 1) mean of |h_l|, l = 0..L
};

/// zeta_l = 100 sum_{k=l..L} max(0, Psi_k - Psi_{k-1}) for l = 2..L (arXiv 2601.18302); zeta_1 is NaN.
std::vector<double> jump_rate(std::span<double const> displacement);

/// The statistics of all tokens whose sums are in `sums` (layers + 1, backend::angular_sums), row by row, with the
/// columns of backend::AngularSum. Every row must have counted at least one token.
JumpStatistics statistics_of(std::span<double const> sums, std::int64_t layers);

}  // namespace jreg::jump
