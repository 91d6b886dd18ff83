// The kernels' exponential, seen through the softmax of two logits: sum = e^(x - 0) with one column.
#include <algorithm>
#include <cmath>

#include "backend/backend_test.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class Exponential : public BackendTest {
protected:
  Real exponentials(Real const& x) {
    std::int64_t const count = x.columns;
    Real column(count, 1);
    column.values = x.values;
    auto const logits = upload(column, DType::f32);
    auto const zero = upload(Real(1, count), DType::f32);
    auto const targets = upload_tokens(std::vector<std::int32_t>(static_cast<std::size_t>(count), 0));
    auto const sums = output(DType::f32, 2, count);
    ops().logits_sum(logits, 0, 1, zero, targets, sums);
    Real result(1, count);
    Real const found = sums.values();
    std::copy_n(found.values.begin(), count, result.values.begin());
    return result;
  }
};

TEST_P(Exponential, IsRightToTwoTenMillionths) {
  std::int64_t const count = 200001;
  Real x(1, count);
  for (std::int64_t i = 0; i < count; ++i) {
    x(0, i) = static_cast<double>(static_cast<float>(-87 + 175.0 * static_cast<double>(i) / (count - 1)));
  }
  Real const found = exponentials(x);
  double worst = 0;
  for (std::int64_t i = 0; i < count; ++i) worst = std::max(worst, std::abs(found(0, i) / std::exp(x(0, i)) - 1));
  EXPECT_LT(worst, 2e-7);
}

TEST_P(Exponential, KeepsItsSpecialValues) {
  Real x(1, 6);
  x.values = {0, -0.0, -INFINITY, INFINITY, std::nan(""), -200};
  Real const found = exponentials(x);
  EXPECT_EQ(found(0, 0), 1);
  EXPECT_EQ(found(0, 1), 1);
  EXPECT_EQ(found(0, 2), 0);
  EXPECT_EQ(found(0, 3), INFINITY);
  EXPECT_TRUE(std::isnan(found(0, 4)));
  EXPECT_EQ(found(0, 5), 0);
}

JREG_FOR_TYPES(Exponential, DType::f32);

}  // namespace
}  // namespace jreg::backend
