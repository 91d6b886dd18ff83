#include "jump/statistics.h"

#include <cmath>
#include <cstddef>
#include <limits>

#include "backend/ops.h"
#include "base/error.h"

namespace jreg::jump {
namespace {

// Unlike std::max(0, x) this keeps a NaN.
double positive_part(double x) {
  return x <= 0 ? 0 : x;
}

}  // namespace

std::vector<double> jump_rate(std::span<double const> displacement) {
  std::vector<double> rate(displacement.size(), std::numeric_limits<double>::quiet_NaN());
  double sum = 0;
  for (std::size_t i = displacement.size(); i-- > 1;) {
    sum += positive_part(displacement[i] - displacement[i - 1]);
    rate[i] = 100 * sum;
  }
  return rate;
}

JumpStatistics statistics_of(std::span<double const> sums, std::int64_t layers) {
  expect_equal(std::ssize(sums), (layers + 1) * backend::angular_sums, "elements of the angular sums");
  JumpStatistics result;
  for (std::int64_t layer = 0; layer <= layers; ++layer) {
    auto const row = sums.subspan(static_cast<std::size_t>(layer * backend::angular_sums), backend::angular_sums);
    double const tokens = row[backend::sum_count];
    expect(tokens > 0, "a layer's angular sums hold at least one token");
    result.hidden_norm.push_back(row[backend::sum_norm] / tokens);
    if (layer == 0) continue;
    double const displacement = row[backend::sum_displacement] / tokens;
    double const variance = row[backend::sum_displacement_squared] / tokens - displacement * displacement;
    result.displacement.push_back(displacement);
    result.angle.push_back(row[backend::sum_angle] / tokens);
    result.relative_update.push_back(row[backend::sum_relative_update] / tokens);
    // c = 1 - 2 Psi; rounding can leave a variance just below 0
    result.cosine_std.push_back(2 * std::sqrt(positive_part(variance)));
  }
  result.jump_rate = jump_rate(result.displacement);
  return result;
}

}  // namespace jreg::jump
