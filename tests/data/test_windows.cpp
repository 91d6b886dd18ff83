#include "data/windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "data/batch.h"
#include "data/memory_tokens.h"

namespace jreg::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Tokens 100, 101, ...
MemoryTokens counting(std::int64_t tokens) {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t < tokens; ++t) ids.push_back(static_cast<std::int32_t>(100 + t));
  return {"counting", std::move(ids)};
}

TEST(Windows, SideBySideAreWholeAndCountEveryPrediction) {
  Windows const windows{3 * 4 + 3, 4};
  ASSERT_EQ(windows.count(), 3);
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(windows.at(i).offset, 4 * i);
    EXPECT_EQ(windows.at(i).inputs, 4);
    EXPECT_EQ(windows.at(i).counted, 0);
    EXPECT_EQ(windows.counted(i), 4 * i);
  }
  EXPECT_EQ(windows.counted(3), 12);
}

// The loop that is usually written for this, with each prediction noted.
TEST(Windows, SlidingPredictEveryTokenButTheFirstOnceFromAsManyTokensAsPromised) {
  for (std::int64_t const length : {1, 2, 5, 8}) {
    for (std::int64_t stride = 1; stride <= length; ++stride) {
      for (std::int64_t tokens = length + 1; tokens < 30; ++tokens) {
        Windows const windows = Windows::sliding(tokens, length, stride);
        std::vector<int> predicted(static_cast<std::size_t>(tokens), 0);
        for (std::int64_t i = 0; i < windows.count(); ++i) {
          auto const window = windows.at(i);
          EXPECT_EQ(window.offset, i * stride);
          for (std::int64_t t = window.counted; t < window.inputs; ++t) {
            ++predicted[static_cast<std::size_t>(window.offset + t + 1)];
            EXPECT_GE(t + 1, std::min(window.offset + t + 1, length - stride + 1));
          }
          EXPECT_EQ(windows.counted(i + 1), window.offset + window.inputs);
        }
        std::vector<int> wanted(predicted.size(), 1);
        wanted[0] = 0;
        EXPECT_EQ(predicted, wanted) << length << " " << stride << " " << tokens;
      }
    }
  }
}

TEST(Windows, RefuseTooFewTokens) {
  EXPECT_NO_THROW((Windows{5, 4}));
  for (std::int64_t const tokens : {0, 1, 4}) {
    EXPECT_THROW((Windows{tokens, 4}), UserError);
    EXPECT_THROW(Windows::sliding(tokens, 4, 2), UserError);
  }
}

TEST(LoadWindows, FillsAShortLastWindowUp) {
  MemoryTokens const stream = counting(8);  // predictions of 7 tokens
  Windows const windows = Windows::sliding(8, 4, 3);
  ASSERT_EQ(windows.count(), 2);
  MemoryTokens const nine = counting(9);
  Windows const three = Windows::sliding(9, 4, 3);
  ASSERT_EQ(three.count(), 3);
  std::vector<std::int32_t> inputs(8, -1);
  std::vector<std::int32_t> targets(8, -1);
  std::vector<std::int32_t> first(8, -1);
  load(stream, windows, 0, 2, 200, {}, {inputs, targets});
  EXPECT_THAT(inputs, ElementsAre(100, 101, 102, 103, 103, 104, 105, 106));
  EXPECT_THAT(targets, ElementsAre(101, 102, 103, 104, 104, 105, 106, 107));
  load(nine, three, 1, 2, 200, {.mask = true, .eos = 106}, {inputs, targets, first});
  EXPECT_THAT(inputs, ElementsAre(103, 104, 105, 106, 106, 107, 0, 0));
  EXPECT_THAT(targets, ElementsAre(104, 105, 106, 107, 107, 108, 0, 0));
  EXPECT_THAT(first, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1));
}

TEST(MemoryTokens, RefusesIdsOutsideTheVocabularyByPlace) {
  MemoryTokens const stream = counting(5);
  std::vector<std::int32_t> out(5);
  EXPECT_NO_THROW(stream.read(0, out, 105));
  try {
    stream.read(0, out, 103);
    FAIL();
  } catch (DataError const& error) {
    EXPECT_THAT(error.what(), HasSubstr("counting: token 3 is 103"));
  }
}

}  // namespace
}  // namespace jreg::data
