#include <cmath>

#include "backend/backend_test.h"
#include "oracle/swiglu.h"

namespace jreg::backend {
namespace {

using oracle::Complex;
using oracle::Real;

class SwiGlu : public BackendTest {};

TEST_P(SwiGlu, ForwardMatchesOracle) {
  for (auto const& [tokens, width] : {std::pair{1, 1}, {7, 20}, {65, 33}, {130, 64}}) {
    Real const gate_up = random("gate_up", tokens, 2 * width, 4);
    auto const out = output(tokens, width, 3);
    ops().swiglu(upload(gate_up, 1), out);
    EXPECT_LT(relative_error(out.values(), oracle::swiglu(gate_up)), tolerance());
    EXPECT_TRUE(out.guards_intact());
  }
}

TEST_P(SwiGlu, BackwardMatchesImaginaryStepAndRepeatsForward) {
  for (auto const& [tokens, width] : {std::pair{1, 1}, {7, 20}, {65, 33}}) {
    Real const gate_up = random("gate_up", tokens, 2 * width, 2);
    Real const dout = random("dout", tokens, width);
    auto const inout = upload(gate_up, 1);
    auto const out = output(tokens, width, 2);
    ops().swiglu_backward(inout, upload(dout, 3), out);
    auto const elements = oracle::some_elements(gate_up, 100);
    auto const expected = oracle::imaginary_step(
        gate_up, elements, [&](Complex const& x) { return oracle::weighted_sum(oracle::swiglu(x), dout); });
    Real const result = inout.values();
    std::vector<double> found;
    for (std::size_t const i : elements) found.push_back(result.values[i]);
    EXPECT_LT(relative_error(found, expected), tolerance());
    EXPECT_LT(relative_error(out.values(), oracle::swiglu(gate_up)), tolerance());
    EXPECT_TRUE(inout.guards_intact() && out.guards_intact());

    auto const without_out = upload(gate_up, 1);
    ops().swiglu_backward(without_out, upload(dout), {});
    EXPECT_EQ(without_out.bytes(), inout.bytes());
  }
}

TEST_P(SwiGlu, AlignedRowsMatchRowsThatAreNot) {
  for (auto const& [tokens, width] : {std::pair{2, 8}, {700, 24}, {5, 264}, {3, 4104}}) {
    Real const gate_up = random("gate_up", tokens, 2 * width, 4);
    auto const out = output(tokens, width, 8);
    ops().swiglu(upload(gate_up, 16), out);
    EXPECT_LT(relative_error(out.values(), oracle::swiglu(gate_up)), tolerance());

    Real const dout = random("dout", tokens, width);
    auto const aligned = upload(gate_up, 8);
    auto const again = output(tokens, width, 16);
    ops().swiglu_backward(aligned, upload(dout, 8), again);
    auto const other = upload(gate_up, 1);
    ops().swiglu_backward(other, upload(dout), {});
    EXPECT_LT(relative_error(aligned.values(), other.values()), type() == DType::f32 ? 1e-6 : 1e-3);
    EXPECT_LT(relative_error(again.values(), oracle::swiglu(gate_up)), tolerance());
    EXPECT_TRUE(out.guards_intact() && aligned.guards_intact() && again.guards_intact());
  }
}

TEST_P(SwiGlu, ExtremeGatesStayFinite) {
  Real gate_up(1, 8);
  for (std::int64_t i = 0; i < 4; ++i) {
    gate_up(0, i) = std::vector<double>{-1e4, -89, 89, 1e4}[static_cast<std::size_t>(i)];
    gate_up(0, 4 + i) = 1;
  }
  auto const inout = upload(gate_up);
  Real const ones = random("ones", 1, 4, 0);
  auto const out = output(1, 4);
  ops().swiglu_backward(inout, upload(ones), out);
  for (double const value : out.values().values) EXPECT_TRUE(std::isfinite(value));
  for (double const value : inout.values().values) EXPECT_TRUE(std::isfinite(value));
  EXPECT_NEAR(out.values()(0, 3) / 1e4, 1, 1e-2);
}

TEST_P(SwiGlu, NanStaysWhereItIs) {
  Real gate_up = random("gate_up", 2, 10);
  gate_up(0, 1) = std::nan("");
  auto const out = output(2, 5);
  ops().swiglu(upload(gate_up), out);
  Real const result = out.values();
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(std::isnan(result(0, i)), i == 1);
    EXPECT_FALSE(std::isnan(result(1, i)));
  }
}

JREG_FOR_TYPES(SwiGlu, DType::f32, DType::bf16);

}  // namespace
}  // namespace jreg::backend
