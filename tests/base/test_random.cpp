#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "base/error.h"

namespace jreg {
namespace {

using Four = std::array<std::uint32_t, 4>;

// The known answers that come with Random123, the reference implementation.
TEST(Philox, GivesTheReferenceAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL), (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822ULL, 0x0370734413198a2eULL, 0x85a308d3243f6a88ULL),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(StableHash, IsFnv1a) {
  EXPECT_EQ(stable_hash(""), 0xcbf29ce484222325ULL);
  EXPECT_EQ(stable_hash("a"), 0xaf63dc4c8601ec8cULL);
  EXPECT_EQ(stable_hash("foobar"), 0x85944171f73967e8ULL);
}

TEST(RandomStream, DependsOnSeedNameAndIndexOnly) {
  RandomStream const stream{1, "weights"};
  EXPECT_EQ(stream.bits(5), (RandomStream{1, "weights"}.bits(5)));
  EXPECT_NE(stream.bits(5), stream.bits(6));
  EXPECT_NE(stream.bits(5), (RandomStream{2, "weights"}.bits(5)));
  EXPECT_NE(stream.bits(5), (RandomStream{1, "order"}.bits(5)));
  EXPECT_NE(stream.bits(0), stream.bits(std::uint64_t{1} << 32));
}

TEST(RandomStream, UniformFillsTheUnitInterval) {
  RandomStream const stream{3, "uniform"};
  constexpr int n = 100000;
  double sum = 0;
  std::vector<int> bins(10);
  for (std::uint64_t i = 0; i < n; ++i) {
    double const u = stream.uniform(i);
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
    ++bins[static_cast<std::size_t>(u * 10)];
  }
  EXPECT_NEAR(sum / n, 0.5, 0.005);
  for (int const count : bins) EXPECT_NEAR(count, n / 10, 500);
}

TEST(RandomStream, NormalHasTheMomentsOfANormalNumber) {
  RandomStream const stream{3, "normal"};
  constexpr int n = 200000;
  double sums[4] = {};
  double neighbours = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    double const x = stream.normal(i);
    ASSERT_TRUE(std::isfinite(x));
    for (int k = 0; k < 4; ++k) sums[k] += std::pow(x, k + 1);
    neighbours += x * stream.normal(i + 1);
  }
  EXPECT_NEAR(sums[0] / n, 0, 0.01);
  EXPECT_NEAR(sums[1] / n, 1, 0.02);
  EXPECT_NEAR(sums[2] / n, 0, 0.05);
  EXPECT_NEAR(sums[3] / n, 3, 0.1);
  EXPECT_NEAR(neighbours / n, 0, 0.01);
}

TEST(Permuted, VisitsEachPlaceOnce) {
  for (std::uint64_t const size : {1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000, 4096}) {
    RandomStream const stream{size, "order"};
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) {
      std::uint64_t const place = permuted(i, size, stream);
      EXPECT_LT(place, size);
      seen.insert(place);
    }
    EXPECT_EQ(seen.size(), size);
  }
}

TEST(Permuted, MovesAlmostEverythingAndSpreadsIt) {
  RandomStream const stream{1, "order"};
  constexpr std::uint64_t size = 10000;
  int fixed = 0;
  double distance = 0;
  for (std::uint64_t i = 0; i < size; ++i) {
    std::uint64_t const place = permuted(i, size, stream);
    fixed += place == i ? 1 : 0;
    distance += std::abs(static_cast<double>(place) - static_cast<double>(i));
  }
  EXPECT_LT(fixed, 10);
  EXPECT_NEAR(distance / size, size / 3.0, size / 30.0);  // the mean distance of two random places
}

TEST(Permuted, WorksForSizesBeyond32Bits) {
  RandomStream const stream{1, "order"};
  constexpr std::uint64_t size = (std::uint64_t{1} << 40) + 7;
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(permuted(size - 1 - i, size, stream));
  EXPECT_EQ(seen.size(), 1000U);
  EXPECT_LT(*seen.rbegin(), size);
  EXPECT_GT(*seen.rbegin(), size / 2);
}

TEST(Permuted, RefusesAnIndexOutside) {
  RandomStream const stream{1, "order"};
  EXPECT_THROW(permuted(3, 3, stream), InternalError);
  EXPECT_THROW(permuted(0, 0, stream), InternalError);
}

}  // namespace
}  // namespace jreg
