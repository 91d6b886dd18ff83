#include <gtest/gtest.h>

#include "base/error.h"
#include "train/profiled_steps.h"

namespace jreg::train {
namespace {

TEST(ProfiledSteps, AreReadAndRefused) {
  EXPECT_FALSE(profiled_steps("").has_value());
  auto const steps = profiled_steps("20:22");
  ASSERT_TRUE(steps.has_value());
  EXPECT_EQ(steps->first, 20);
  EXPECT_EQ(steps->last, 22);
  EXPECT_EQ(profiled_steps("5:5")->last, 5);
  for (char const* const wrong : {"20", "0:2", "3:2", "a:b", ":", "1:", "1:2:3", "-1:4"}) {
    EXPECT_THROW(profiled_steps(wrong), UserError) << wrong;
  }
}

}  // namespace
}  // namespace jreg::train
