#include "base/bfloat16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace jreg {
namespace {

float rounded(float value) {
  return to_float(to_bfloat16(value));
}

TEST(Bfloat16, KeepsWhatItCanHold) {
  for (float const value : {0.0F, -0.0F, 1.0F, -2.5F, 0x1p-126F, 0x1p-133F, 0x1.fep127F}) {
    EXPECT_EQ(rounded(value), value);
    EXPECT_EQ(std::signbit(rounded(value)), std::signbit(value));
  }
}

TEST(Bfloat16, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(rounded(1.0F + 0x1p-8F), 1.0F);                // tie: 1 is even
  EXPECT_EQ(rounded(1.0F + 3 * 0x1p-8F), 1.0F + 0x1p-6F);  // tie: upwards to even
  EXPECT_EQ(rounded(1.0F + 0x1.02p-8F), 1.0F + 0x1p-7F);
  EXPECT_EQ(rounded(-1.0F - 0x1.02p-8F), -1.0F - 0x1p-7F);
}

TEST(Bfloat16, OverflowsToInfinityAndKeepsNan) {
  float const infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), infinity);
  EXPECT_EQ(rounded(-infinity), -infinity);
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  // a NaN whose payload lies in the lower half must not become infinity
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001U))));
}

}  // namespace
}  // namespace jreg
