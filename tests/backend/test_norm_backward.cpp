#include <algorithm>
#include <cmath>

#include "backend/backend_test.h"
#include "oracle/norm.h"

namespace jreg::backend {
namespace {

using oracle::Complex;
using oracle::Real;

Complex complex(Real const& values) {
  return oracle::to<std::complex<double>>(values);
}

/// A scalar loss of h with every term that norm_backward knows.
class NormBackwardPass : public BackendTest {
protected:
  struct Case {
    std::int64_t tokens;
    std::int64_t width;
    bool norm = true;
    bool previous = true;
    bool next = true;
    bool overwrite = false;
    bool aligned = false;  // rows begin at multiples of 8 elements
  };
  struct Inputs {
    Real h, before, after, gain, dy, dh, dgain;
  };
  struct Gradients {
    Real hidden;
    Real gain;
  };
  static constexpr double eps = 1e-5;
  static constexpr double coefficient = 0.7;
  static constexpr double next_coefficient = -0.4;

  Inputs inputs(Case const& c) const;
  /// What `dh` is the gradient of, for hidden state and gain.
  static std::complex<double> loss(Case const& c, Inputs const& in, Complex const& h, Complex const& gain);
  Gradients run(Case const& c, Inputs const& in);
  void check(Case const& c);
  /// The same for a few elements of many or long rows: a token's gradient depends on that token alone, the gain's is
  /// linear in the gain.
  void check_large(Case const& c);
};

NormBackwardPass::Inputs NormBackwardPass::inputs(Case const& c) const {
  return {random("h", c.tokens, c.width),
          random("before", c.tokens, c.width),
          random("after", c.tokens, c.width),
          random("gain", 1, c.width),
          random("dy", c.tokens, c.width),
          random("dh", c.tokens, c.width),
          oracle::random_matrix("dgain", 1, c.width)};
}

std::complex<double> NormBackwardPass::loss(Case const& c, Inputs const& in, Complex const& h, Complex const& gain) {
  std::complex<double> sum = 0;
  if (!c.overwrite) sum += oracle::weighted_sum(h, in.dh);
  if (c.norm) sum += oracle::weighted_sum(oracle::rms_norm(h, gain, eps).normed, in.dy);
  if (c.previous) sum += coefficient * oracle::total(oracle::displacements(complex(in.before), h));
  if (c.next) sum += next_coefficient * oracle::total(oracle::displacements(h, complex(in.after)));
  return sum;
}

NormBackwardPass::Gradients NormBackwardPass::run(Case const& c, Inputs const& in) {
  auto const row = [&](Real const& values) { return upload(values, DType::f32); };
  auto const hidden = upload(in.h, c.aligned ? 8 : 1);
  auto const scale = upload(in.gain);
  auto const gradient = upload(in.dy, c.aligned ? 16 : 2);
  auto const rstd = row(oracle::rms_norm(in.h, in.gain, eps).rstd);
  auto const norm = row(oracle::norms(in.h));
  auto const previous = upload(in.before);
  auto const previous_norm = row(oracle::norms(in.before));
  auto const psi = row(oracle::displacements(in.before, in.h));
  auto const next = upload(in.after, c.aligned ? 24 : 3);
  auto const next_norm = row(oracle::norms(in.after));
  auto const next_psi = row(oracle::displacements(in.h, in.after));
  std::int64_t const gap = c.aligned ? 8 : 1;
  auto const hidden_gradient = c.overwrite ? output(c.tokens, c.width, gap) : upload(in.dh, gap);
  auto const gain_gradient = row(in.dgain);
  NormBackward args;
  args.hidden = hidden;
  args.hidden_gradient = hidden_gradient;
  args.overwrite = c.overwrite;
  if (c.norm) {
    args.normed_gradient = gradient;
    args.gain = scale;
    args.rstd = rstd;
    args.gain_gradient = gain_gradient;
  }
  args.has_angular = c.previous || c.next;
  args.angular.norm = norm;
  if (c.previous) {
    args.angular.previous = previous;
    args.angular.previous_norm = previous_norm;
    args.angular.displacement = psi;
    args.angular.coefficient = static_cast<float>(coefficient);
  }
  if (c.next) {
    args.angular.next = next;
    args.angular.next_norm = next_norm;
    args.angular.next_displacement = next_psi;
    args.angular.next_coefficient = static_cast<float>(next_coefficient);
  }
  ops().norm_backward(args);
  EXPECT_TRUE(hidden_gradient.guards_intact() && gain_gradient.guards_intact());
  return {hidden_gradient.values(), gain_gradient.values()};
}

void NormBackwardPass::check(Case const& c) {
  SCOPED_TRACE(fmt::format("tokens {} width {} norm {} previous {} next {} overwrite {}", c.tokens, c.width, c.norm,
                           c.previous, c.next, c.overwrite));
  Inputs const in = inputs(c);
  Gradients const result = run(c, in);
  auto const elements = oracle::some_elements(in.h, 300);
  auto const expected =
      oracle::imaginary_step(in.h, elements, [&](Complex const& h) { return loss(c, in, h, complex(in.gain)); });
  std::vector<double> found;
  for (std::size_t const i : elements) found.push_back(result.hidden.values[i]);
  EXPECT_LT(relative_error(found, expected), tolerance());

  auto const gains = oracle::some_elements(in.gain, 100);
  auto const gain_step =
      oracle::imaginary_step(in.gain, gains, [&](Complex const& gain) { return loss(c, in, complex(in.h), gain); });
  for (std::size_t i = 0; i < gains.size(); ++i) {
    EXPECT_NEAR(result.gain.values[gains[i]], in.dgain.values[gains[i]] + gain_step[i], 1e-4);
  }
}

void NormBackwardPass::check_large(Case const& c) {
  SCOPED_TRACE(fmt::format("tokens {} width {} overwrite {}", c.tokens, c.width, c.overwrite));
  Inputs const in = inputs(c);
  Gradients const result = run(c, in);
  std::vector<double> expected;
  std::vector<double> found;
  auto elements = oracle::some_elements(in.h, 8);
  elements.push_back(in.h.values.size() - 1);
  for (std::size_t const i : elements) {
    auto const token = static_cast<std::int64_t>(i) / c.width;
    auto const row = [&](Real const& all) {
      Real one(1, c.width);
      std::copy_n(all.values.begin() + token * c.width, c.width, one.values.begin());
      return one;
    };
    Inputs const one{row(in.h), row(in.before), row(in.after), in.gain, row(in.dy), row(in.dh), in.dgain};
    auto const step = oracle::imaginary_step(one.h, {i % static_cast<std::size_t>(c.width)},
                                             [&](Complex const& h) { return loss(c, one, h, complex(in.gain)); });
    expected.push_back(step[0]);
    found.push_back(result.hidden.values[i]);
  }
  EXPECT_LT(relative_error(found, expected), tolerance());
  for (double const value : result.hidden.values) ASSERT_TRUE(std::isfinite(value));

  Real ones(1, c.width);
  for (double& value : ones.values) value = 1;
  Real const unscaled = oracle::rms_norm(in.h, ones, eps).normed;
  Real gain = in.dgain;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t i = 0; i < c.width; ++i) gain(0, i) += in.dy(t, i) * unscaled(t, i);
  }
  EXPECT_LT(relative_error(result.gain, gain), 2e-6);
}

TEST_P(NormBackwardPass, LongRowsMatchImaginaryStep) {
  for (std::int64_t const width : row_widths) {
    if (width <= 12288) check_large({.tokens = 5, .width = width, .aligned = true});
  }
}

TEST_P(NormBackwardPass, ManyRowsMatchImaginaryStep) {
  for (std::int64_t const width : {24, 256, 760, 1024}) {
    check_large({.tokens = 301, .width = width, .overwrite = width == 24, .aligned = true});
  }
}

TEST_P(NormBackwardPass, MatchesImaginaryStep) {
  for (auto const& [tokens, width] : {std::pair{1, 20}, {7, 2}, {130, 20}, {3, 65}}) check({tokens, width});
}

TEST_P(NormBackwardPass, MatchesWithAnyTermAbsent) {
  for (int terms = 0; terms < 16; ++terms) {
    check({7, 20, (terms & 1) != 0, (terms & 2) != 0, (terms & 4) != 0, (terms & 8) != 0});
    check({7, 24, (terms & 1) != 0, (terms & 2) != 0, (terms & 4) != 0, (terms & 8) != 0, true});
  }
}

TEST_P(NormBackwardPass, ZeroVectorsGetNoAngularGradient) {
  Real const none(3, 20);
  Real const ones = oracle::norms(random("other", 3, 20));
  auto const zero = upload(none);
  auto const zero_norm = upload(Real(1, 3), DType::f32);
  auto const other = upload(random("other", 3, 20));
  auto const other_norm = upload(ones, DType::f32);
  for (bool const own_is_zero : {true, false}) {
    auto const gradient = upload(none);
    NormBackward args;
    args.hidden = own_is_zero ? zero : other;
    args.hidden_gradient = gradient;
    args.has_angular = true;
    args.angular.norm = own_is_zero ? zero_norm : other_norm;
    args.angular.previous = args.angular.next = own_is_zero ? other : zero;
    args.angular.previous_norm = args.angular.next_norm = own_is_zero ? other_norm : zero_norm;
    args.angular.displacement = args.angular.next_displacement = zero_norm;
    args.angular.coefficient = args.angular.next_coefficient = 1;
    ops().norm_backward(args);
    for (double const value : gradient.values().values) EXPECT_EQ(value, 0);
  }
}

TEST_P(NormBackwardPass, TwiceGivesTheSameBits) {
  std::int64_t const tokens = 1000;
  std::int64_t const width = 24;
  Real const h = random("h", tokens, width);
  auto const hidden = upload(h);
  auto const gradient = upload(random("dy", tokens, width));
  auto const gain = upload(random("gain", 1, width));
  auto const rstd = upload(oracle::rms_norm(h, random("gain", 1, width), eps).rstd, DType::f32);
  auto const dh = output(tokens, width);
  auto dgain = output(DType::f32, 1, width);
  NormBackward args;
  args.normed_gradient = gradient;
  args.hidden = hidden;
  args.gain = gain;
  args.rstd = rstd;
  args.hidden_gradient = dh;
  args.overwrite = true;
  args.gain_gradient = dgain;
  auto const call = [&] {
    dgain.fill(Real(1, width));
    ops().norm_backward(args);
  };
  EXPECT_TRUE(same_bits_twice(call, dgain));
  EXPECT_TRUE(same_bits_twice(call, dh));
}

JREG_FOR_TYPES(NormBackwardPass, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
