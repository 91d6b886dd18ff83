
#include <cmath>

#include "backend/adamw_settings.h"
#include "backend/backend_test.h"

namespace jreg::backend {
namespace {

using oracle::Real;

class AdamWUpdate : public BackendTest {};

TEST_P(AdamWUpdate, ThreeUpdatesMatchOracle) {
  oracle::AdamWSettings const settings{3e-3, 0.9, 0.95, 1e-8, 0.1};
  for (std::int64_t const count : {1, 65, 40001}) {
    Real const weights = oracle::random_matrix("weights", 1, count, 0.02);
    auto const weight = upload(weights, DType::f32);
    auto const first = upload(Real(1, count), DType::f32);
    auto const second = upload(Real(1, count), DType::f32);
    auto const compute = output(DType::bf16, 1, count);
    std::vector<oracle::AdamWState> states;
    for (double const value : weights.values) states.push_back({static_cast<double>(static_cast<float>(value))});
    for (int step = 1; step <= 3; ++step) {
      Real const gradients = oracle::random_matrix(fmt::format("gradient{}", step), 1, count);
      auto const gradient = upload(gradients, DType::f32);
      AdamW args{.weight = weight, .compute = {}, .gradient = gradient, .first = first, .second = second};
      // Types decide only whether the bf16 copy of the weights is written.
      if (type() == DType::bf16) args.compute = compute;
      set(args, settings, step);
      args.gradient_scale = 0.5F;
      ops().adamw(args);
      for (std::size_t i = 0; i < states.size(); ++i)
        oracle::adamw(settings, 0.5 * gradients.values[i], step, states[i]);
    }
    Real expected(1, count);
    Real expected_second(1, count);
    for (std::size_t i = 0; i < states.size(); ++i) {
      expected.values[i] = states[i].weight;
      expected_second.values[i] = states[i].second;
    }
    EXPECT_LT(relative_error(weight.values(), expected), 2e-6);
    EXPECT_LT(relative_error(second.values(), expected_second), 2e-6);
    if (type() == DType::bf16) {
      EXPECT_EQ(compute.values().values, rounded(weight.values()).values);
    }
    for (auto const* tensor : {&weight, &first, &second, &compute}) EXPECT_TRUE(tensor->guards_intact());
  }
}

TEST_P(AdamWUpdate, NanGradientReachesTheWeight) {
  Real gradients(1, 20);
  gradients(0, 7) = std::nan("");
  auto const weight = upload(Real(1, 20), DType::f32);
  auto const moments = upload(Real(1, 20), DType::f32);
  auto const squares = upload(Real(1, 20), DType::f32);
  auto const gradient = upload(gradients, DType::f32);
  AdamW args{.weight = weight, .compute = {}, .gradient = gradient, .first = moments, .second = squares};
  args.rate = 0.1F;
  args.eps = 1e-8F;
  ops().adamw(args);
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_EQ(std::isnan(weight.values()(0, i)), i == 7);
}

TEST_P(AdamWUpdate, AnyRangeIsUpdatedLikeTheWhole) {
  std::int64_t const count = 1027;
  auto const gradient = upload(oracle::random_matrix("gradient", 1, count), DType::f32);
  for (auto const& [begin, end] : {std::pair{0, 1027}, {1, 1027}, {4, 1024}, {5, 7}}) {
    auto const weight = upload(oracle::random_matrix("weights", 1, count), DType::f32);
    auto const first = upload(Real(1, count), DType::f32);
    auto const second = upload(Real(1, count), DType::f32);
    auto const compute = upload(Real(1, count), DType::bf16);
    Real expected = weight.values();
    AdamW args{.weight = weight.view().column_range(begin, end),
               .compute = {},
               .gradient = gradient.view().column_range(begin, end),
               .first = first.view().column_range(begin, end),
               .second = second.view().column_range(begin, end)};
    if (type() == DType::bf16) args.compute = compute.view().column_range(begin, end);
    args.rate = 0.5F;
    args.eps = 0.25F;
    args.decay = 0.1F;
    ops().adamw(args);
    oracle::AdamWSettings const settings{0.5, 0, 0, 0.25, static_cast<double>(0.1F)};
    Real const slope = gradient.values();
    for (std::int64_t i = begin; i < end; ++i) {
      oracle::AdamWState state{expected(0, i)};
      oracle::adamw(settings, slope(0, i), 1, state);
      expected(0, i) = state.weight;
    }
    Real const found = weight.values();
    EXPECT_LT(relative_error(found, expected), 1e-6);
    Real low(1, count);
    for (std::int64_t i = begin; i < end; ++i) low(0, i) = found(0, i);
    if (type() == DType::bf16) {
      EXPECT_EQ(compute.values().values, rounded(low).values);
    }
  }
}

JREG_FOR_TYPES(AdamWUpdate, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
