#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace jreg::data {
namespace {

__extension__ using Wide = __int128;  // a product of two shares

/// The weights as whole numbers: times the power of ten that makes all of them whole, or leaves the largest 13 digits.
std::vector<std::int64_t> shares_of(std::vector<double> const& weights) {
  constexpr int most_digits = 12;          // behind the first one of the largest weight
  constexpr double reading_error = 1e-12;  // of a decimal number in a double, and of the products below
  double unit = 1;                         // power of ten of the largest weight's first digit
  double const largest = std::ranges::max(weights);
  while (largest >= unit * 10) unit *= 10;
  while (largest < unit && unit > 1e-290) unit /= 10;  // below that its reciprocal, or itself, is no number
  double scale = 1;
  std::vector<std::int64_t> shares(weights.size());
  for (int digits = 0;; ++digits, scale *= 10) {
    bool whole = true;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      double const scaled = weights[i] / unit * scale;
      shares[i] = std::llround(scaled);
      whole = whole && std::abs(scaled - static_cast<double>(shares[i])) <= reading_error * scaled;
    }
    if (whole || digits == most_digits) break;
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0 && shares[i] == 0) {
      throw UserError("data.sources: weight {} is too small beside {}; leave that source out", weights[i], largest);
    }
  }
  std::int64_t const divisor =
      std::accumulate(shares.begin(), shares.end(), std::int64_t{0}, std::gcd<std::int64_t, std::int64_t>);
  for (std::int64_t& share : shares) share /= divisor;
  return shares;
}

}  // namespace

Mixture::Mixture(std::vector<double> const& weights) {
  bool const good = std::ranges::all_of(weights, [](double weight) { return std::isfinite(weight) && weight >= 0; });
  expect(!weights.empty() && good && std::ranges::max(weights) > 0, "Mixture: weights are >= 0 and not all 0");
  expect(weights.size() <= 10000, "Mixture: sums of shares fit into 64 bits");
  shares_ = shares_of(weights);
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    if (shares_[i] > 0) drawn_.push_back(i);
  }
  period_ = std::accumulate(shares_.begin(), shares_.end(), std::int64_t{0});
  start(0);
}

double Mixture::proportion(std::size_t source) const {
  return static_cast<double>(shares_[source]) / static_cast<double>(period_);
}

void Mixture::start(std::int64_t period_index) {
  position_ = period_index * period_;
  counts_.clear();
  for (std::int64_t const share : shares_) counts_.push_back(period_index * share);
  leads_ = shares_;
}

std::size_t Mixture::choose() const {
  if (drawn_.size() == 1) return drawn_.front();
  auto const parts = 2 * static_cast<Wide>(drawn_.size()) - 2;  // 2n - 2
  std::size_t best = shares_.size();
  Wide best_slack = 0;  // (1 - 1/(2n-2) - s) (2n-2) period_: what is compared, times shares_[best]
  for (std::size_t const i : drawn_) {
    Wide const lead = parts * leads_[i];
    if (lead < period_) continue;
    Wide const slack = (parts - 1) * period_ - lead;
    if (best == shares_.size() || slack * shares_[best] < best_slack * shares_[i]) {
      best = i;
      best_slack = slack;
    }
  }
  expect(best < shares_.size(), "Mixture: a source is behind its share");
  return best;
}

void Mixture::step() {
  std::size_t const source = choose();
  ++counts_[source];
  leads_[source] -= period_;
  for (std::size_t const i : drawn_) leads_[i] += shares_[i];
  ++position_;
}

Mixture::Place Mixture::at(std::int64_t global_index) {
  expect(global_index >= 0, "Mixture::at: the index is not negative");
  std::int64_t const period_index = global_index / period_;
  if (global_index < position_ || period_index != position_ / period_) start(period_index);
  while (position_ < global_index) step();
  std::size_t const source = choose();
  return {source, counts_[source]};
}

}  // namespace jreg::data
