#include "config/option.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.h"
#include "config/refusal.h"

namespace jreg::config {
namespace {

using testing::HasSubstr;

template <class Value> Value parsed(std::string const& text, Rule const& rule = Rule::any()) {
  Value value{};
  parse_value("x", text, rule, value);
  return value;
}

TEST(ParseValue, ReadsWholeNumbersStrictly) {
  EXPECT_EQ(parsed<std::int64_t>("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parsed<std::int64_t>("12"), 12);
  for (std::string const text : {"", " 1", "1 ", "1.0", "1e3", "0x10", "+1", "one", "9223372036854775808", "1k"}) {
    EXPECT_THAT(refusal([&] { parsed<std::int64_t>(text); }), HasSubstr("x = " + text + ": must be a whole number"));
  }
}

TEST(ParseValue, ReadsNumbersStrictly) {
  EXPECT_EQ(parsed<double>("6e-4"), 6e-4);
  EXPECT_EQ(parsed<double>("-0.5"), -0.5);
  for (std::string const text : {"", "nan", "NaN", "-nan", "inf", "-inf", "1e999", "1.0x", " 1", "1,5"}) {
    EXPECT_THAT(refusal([&] { parsed<double>(text); }), HasSubstr("x = " + text + ": must be a finite number"));
  }
}

TEST(ParseValue, ReadsTruthByName) {
  EXPECT_TRUE(parsed<bool>("true"));
  EXPECT_FALSE(parsed<bool>("false"));
  for (std::string const text : {"", "1", "0", "yes", "True", "on"}) {
    EXPECT_THAT(refusal([&] { parsed<bool>(text); }), HasSubstr("must be true or false"));
  }
}

TEST(ParseValue, KeepsTheOldValueWhenItRefuses) {
  std::int64_t value = 5;
  refusal([&] { parse_value("x", "-1", Rule::at_least(0), value); });
  EXPECT_EQ(value, 5);
}

TEST(ParseValue, ChecksRangesAtTheirEdges) {
  EXPECT_EQ(parsed<std::int64_t>("0", Rule::at_least(0)), 0);
  EXPECT_THAT(refusal([] { parsed<std::int64_t>("-1", Rule::at_least(0)); }), HasSubstr("must be at least 0"));
  EXPECT_THAT(refusal([] { parsed<double>("0", Rule::positive()); }), HasSubstr("must be greater than 0"));
  EXPECT_GT(parsed<double>("1e-300", Rule::positive()), 0);
  EXPECT_EQ(parsed<double>("0", Rule::below(0, 1)), 0);
  EXPECT_THAT(refusal([] { parsed<double>("1", Rule::below(0, 1)); }), HasSubstr("at least 0 and less than 1"));
  EXPECT_EQ(parsed<double>("1", Rule::between(0, 1)), 1);
  EXPECT_THAT(refusal([] { parsed<double>("1.01", Rule::between(0, 1)); }), HasSubstr("at least 0 and at most 1"));
}

TEST(ParseValue, ChecksChoices) {
  EXPECT_EQ(parsed<std::string>("cuda", Rule::one_of({"cpu", "cuda"})), "cuda");
  EXPECT_THAT(refusal([] {
                parsed<std::string>("gpu", Rule::one_of({"cpu", "cuda"}));
              }),
              HasSubstr("x = gpu: must be one of cpu, cuda"));
}

TEST(ValueText, ReadsBackToTheSameValue) {
  for (double const value : {0.0, 1.0, 6e-4, 1.0 / 3.0, 1e-300, 123456789012345.0, 1e22}) {
    EXPECT_EQ(parsed<double>(value_text(value)), value);
  }
  EXPECT_EQ(parsed<std::int64_t>(value_text(std::numeric_limits<std::int64_t>::max())),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(parsed<bool>(value_text(true)));
}

TEST(NearestName, FindsSlipsAndForgottenSections) {
  Config config;
  auto const options = options_of(config);
  EXPECT_EQ(nearest_name("model.hiden", options), "model.hidden");
  EXPECT_EQ(nearest_name("optim.lerning_rate", options), "optim.learning_rate");
  EXPECT_EQ(nearest_name("learning_rate", options), "optim.learning_rate");
  EXPECT_EQ(nearest_name("clip", options), "optim.clip");
  EXPECT_EQ(nearest_name("train.globalbatch", options), "train.global_batch");
  EXPECT_EQ(nearest_name("something.else.entirely", options), "");
}

TEST(Options, AreNamedOnceAndAcceptTheirOwnDefaults) {
  Config config;
  auto const options = options_of(config);
  std::set<std::string> names;
  for (Option const& option : options) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
    std::string const before = option.get();
    EXPECT_NO_THROW(option.set(before)) << option.name;
    EXPECT_EQ(option.get(), before);
  }
}

}  // namespace
}  // namespace jreg::config
