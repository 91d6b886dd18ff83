#include "data/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "data/dataset.h"
#include "data/scratch.h"
#include "data/token_writer.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

/// Largest |count - k w| over all sources and k = 1 .. samples.
double largest_deviation(std::vector<double> const& weights, std::int64_t samples) {
  Mixture mixture{weights};
  double const sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> counts(weights.size());
  double largest = 0;
  for (std::int64_t k = 0; k < samples; ++k) {
    auto const [source, index] = mixture.at(k);
    EXPECT_EQ(static_cast<double>(index), counts[source]) << "samples of a source follow one another";
    ++counts[source];
    for (std::size_t i = 0; i < weights.size(); ++i) {
      largest = std::max(largest, std::abs(counts[i] - static_cast<double>(k + 1) * weights[i] / sum));
    }
  }
  return largest;
}

TEST(Mixture, ProportionsAreExactToWithinOneSampleAtEveryMoment) {
  for (std::vector<double> const& weights : {std::vector<double>{1},
                                             {0.7, 0.3},
                                             {1, 1},
                                             {1, 2, 5},
                                             {0.5, 0.25, 0.125, 0.125},
                                             {1e6, 1},
                                             {123456789012, 987654321, 5},
                                             {1.0 / 3, 2.0 / 3},
                                             {0, 3, 0, 2}}) {
    EXPECT_LT(largest_deviation(weights, 20000), 1 - 1e-6) << testing::PrintToString(weights);
  }
}

TEST(Mixture, ProportionsAreExactForManyOddWeights) {
  RandomStream const stream{7, "weights"};
  for (std::uint64_t round = 0; round < 40; ++round) {
    std::vector<double> weights;
    for (std::uint64_t i = 0; i < 2 + round % 12; ++i) {
      // Some large, many small: where the largest deficit alone strays by more than one.
      weights.push_back(std::pow(stream.uniform(round * 100 + i), i == 0 ? 0.1 : 6.0) + 1e-4);
    }
    auto const n = static_cast<double>(weights.size());
    EXPECT_LT(largest_deviation(weights, 5000), 1 - 1 / (2 * n - 2) + 1e-6) << testing::PrintToString(weights);
  }
}

TEST(Mixture, OneLargeAmongManySmallKeepsItsShare) {
  std::vector<double> weights(21, 0.005);
  weights[0] = 0.9;
  EXPECT_LT(largest_deviation(weights, 4000), 1);
}

TEST(Mixture, PlaceIsAPureFunctionOfTheIndex) {
  std::vector<double> const weights{0.61, 0.29, 0.1};
  Mixture walked{weights};
  std::vector<Mixture::Place> places;
  for (std::int64_t k = 0; k < 1000; ++k) places.push_back(walked.at(k));
  Mixture jumping{weights};
  for (std::int64_t i = 0; i < 1000; ++i) {
    std::int64_t const k = i * 617 % 1000;
    Mixture fresh{weights};
    for (Mixture* const mixture : {&jumping, &fresh}) {
      EXPECT_EQ(mixture->at(k).source, places[static_cast<std::size_t>(k)].source) << k;
      EXPECT_EQ(mixture->at(k).index, places[static_cast<std::size_t>(k)].index) << k;
    }
  }
}

// Another order here means that no running job can be resumed with the data order it began with.
TEST(Mixture, OrderIsTheSameOnEveryMachine) {
  Mixture mixture{{0.5, 0.3, 0.2}};
  std::string order;
  for (std::int64_t k = 0; k < 20; ++k) order += static_cast<char>('a' + mixture.at(k).source);
  EXPECT_EQ(order, "abacabacbaabacabacba");
}

TEST(Mixture, DecimalWeightsAreWholeSharesAndRepeat) {
  Mixture mixture{{0.7, 0.3}};
  EXPECT_EQ(mixture.period(), 10);
  EXPECT_EQ((Mixture{{70, 30}}.period()), 10);
  EXPECT_EQ((Mixture{{0.125, 1}}.period()), 9);
  EXPECT_EQ((Mixture{{0.7, 0}}.period()), 1);
  constexpr std::int64_t periods = 400'000'000'000'000'000;
  for (std::int64_t k = 0; k < 10; ++k) {
    Mixture::Place const first = mixture.at(k);
    Mixture::Place const later = mixture.at(10 * periods + k);
    EXPECT_EQ(later.source, first.source);
    EXPECT_EQ(later.index, first.index + periods * (first.source == 0 ? 7 : 3));
  }
}

TEST(Mixture, RefusesAWeightThatCannotBeToldFromZero) {
  EXPECT_THAT(message_of<UserError>([] { Mixture({1, 1e-15}); }), HasSubstr("weight 1e-15 is too small"));
  EXPECT_THROW(Mixture({5e-324, 5e-324}), UserError);
  EXPECT_EQ((Mixture{{1e300, 3e300}}.period()), 4);
  EXPECT_EQ((Mixture{{1e-280, 3e-280}}.period()), 4);
}

class DatasetTest : public testing::Test {
protected:
  /// A file of `tokens` tokens with ids from `first` on.
  std::string write(std::string const& name, std::int32_t first, std::int32_t tokens) const {
    TokenWriter writer{folder_ / name, 10000};
    for (std::int32_t i = first; i < first + tokens; ++i) writer.add(std::span{&i, 1});
    writer.end_document();
    writer.finish();
    writer.commit();
    return folder_ / name;
  }
  config::DataConfig mixed(std::string const& sources) const {
    config::DataConfig config;
    config.sources = sources;
    return config;
  }

  Scratch folder_;
};

TEST_F(DatasetTest, ASourceAloneIsTheSameAsDataTrain) {
  std::string const path = write("a", 0, 101);
  config::DataConfig plain;
  plain.train = path;
  Dataset one{plain, 10, 3};
  Dataset other{mixed(path + ":2"), 10, 3};
  Sampler const sampler{101, 10, 3};
  for (std::int64_t i = 0; i < 35; ++i) {
    EXPECT_EQ(one.sample(i).offset, sampler.token_offset(i));
    EXPECT_EQ(other.sample(i).offset, sampler.token_offset(i));
  }
}

TEST_F(DatasetTest, EachSourceGoesThroughItsOwnShuffledEpochs) {
  Dataset dataset{mixed(write("a", 0, 101) + ":0.75," + write("b", 1000, 101) + " : 0.25"), 10, 3};
  std::map<TokenStream const*, std::vector<std::int64_t>> seen;
  for (std::int64_t i = 0; i < 80; ++i) {
    Sample const sample = dataset.sample(i);
    seen[sample.stream].push_back(sample.offset);
  }
  auto const& a = seen[&dataset.stream(0)];
  auto const& b = seen[&dataset.stream(1)];
  ASSERT_EQ(a.size(), 60U);
  ASSERT_EQ(b.size(), 20U);
  for (auto const& offsets : {a, b}) {
    for (std::size_t epoch = 0; epoch + 10 <= offsets.size(); epoch += 10) {
      auto const begin = offsets.begin() + static_cast<std::ptrdiff_t>(epoch);
      EXPECT_EQ(std::set(begin, begin + 10).size(), 10U);
    }
  }
  EXPECT_FALSE(std::equal(b.begin(), b.end(), a.begin())) << "sources of one length have orders of their own";
  EXPECT_DOUBLE_EQ(dataset.epochs(0, 80), 6);
  EXPECT_DOUBLE_EQ(dataset.epochs(1, 80), 2);
}

TEST_F(DatasetTest, RefusesASourceThatIsMissingOrTooShort) {
  std::string const a = write("a", 0, 101);
  std::string const text =
      message_of<UserError>([&] { Dataset(mixed(a + ":1," + write("short", 0, 10) + ":1"), 10, 3); });
  EXPECT_THAT(text, HasSubstr("short: 10 tokens"));
  EXPECT_THAT(text, HasSubstr("train.sequence_length = 10"));
  EXPECT_THAT(message_of<UserError>([&] { Dataset(mixed(a + ":1, " + (folder_ / "none") + ":1"), 10, 3); }),
              HasSubstr("none.idx"));
}

TEST_F(DatasetTest, DocumentMasksNeedDocuments) {
  config::DataConfig config;
  config.train = folder_.write("bare", std::string(100, '\1'));
  config.format = "raw16";
  config.document_mask = true;
  EXPECT_THAT(message_of<UserError>([&] { Dataset(config, 10, 3); }), HasSubstr("data.eos"));
  config.eos = 5;
  EXPECT_EQ((Dataset{config, 10, 3}.sources()), 1U);
}

}  // namespace
}  // namespace jreg::data
