#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/error.h"
#include "data/batch.h"
#include "data/sampler.h"
#include "data/scratch.h"
#include "data/token_file.h"
#include "data/token_writer.h"

namespace jreg::data {
namespace {

using testing::HasSubstr;

std::vector<std::int64_t> epoch_of(Sampler const& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i < sampler.samples_per_epoch(); ++i) {
    offsets.push_back(sampler.token_offset(epoch * sampler.samples_per_epoch() + i));
  }
  return offsets;
}

TEST(Sampler, VisitsEverySampleOncePerEpoch) {
  for (std::int64_t const samples : {1, 2, 3, 7, 64, 1000}) {
    Sampler const sampler{samples * 16 + 1, 16, 3};
    ASSERT_EQ(sampler.samples_per_epoch(), samples);
    std::set<std::int64_t> expected;
    for (std::int64_t i = 0; i < samples; ++i) expected.insert(i * 16);
    for (std::int64_t epoch : {0, 1, 5}) {
      auto const offsets = epoch_of(sampler, epoch);
      EXPECT_EQ(std::set<std::int64_t>(offsets.begin(), offsets.end()), expected) << samples << " epoch " << epoch;
    }
  }
}

TEST(Sampler, OrderIsShuffledAndDiffersBetweenEpochsAndSeeds) {
  Sampler const sampler{1000 * 16 + 1, 16, 3};
  auto const first = epoch_of(sampler, 0);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  EXPECT_NE(first, epoch_of(sampler, 1));
  EXPECT_NE(first, epoch_of(Sampler{1000 * 16 + 1, 16, 4}, 0));
  EXPECT_EQ(first, epoch_of(Sampler{1000 * 16 + 1, 16, 3}, 0));
}

// Another order here means that no running job can be resumed with the data order it began with.
TEST(Sampler, OrderIsTheSameOnEveryMachine) {
  Sampler const sampler{10 * 4 + 1, 4, 1};
  EXPECT_EQ(epoch_of(sampler, 0), (std::vector<std::int64_t>{28, 16, 20, 8, 12, 36, 24, 0, 32, 4}));
}

TEST(Sampler, LastSampleNeedsItsNextToken) {
  EXPECT_EQ((Sampler{17, 8, 1}.samples_per_epoch()), 2);
  EXPECT_EQ((Sampler{16, 8, 1}.samples_per_epoch()), 1);
}

TEST(Sampler, RefusesAFileShorterThanOneSample) {
  std::string const text = message_of<UserError>([] { Sampler(8, 8, 1); });
  EXPECT_THAT(text, HasSubstr("8 tokens"));
  EXPECT_THAT(text, HasSubstr("train.sequence_length = 8"));
}

TEST(BatchPlan, EveryMeshCoversTheSameSamples) {
  for (std::int64_t const step : {0, 1, 17}) {
    std::vector<std::int64_t> expected;
    for (std::int64_t i = 0; i < 8; ++i) expected.push_back(step * 8 + i);
    for (std::int64_t const ranks : {1, 2, 4}) {
      for (std::int64_t const micro : {0, 1, 2}) {
        std::vector<std::int64_t> seen;
        for (std::int64_t rank = 0; rank < ranks; ++rank) {
          BatchPlan const plan{8, ranks, rank, micro};
          EXPECT_EQ(plan.micro_batches() * plan.micro_batch(), 8 / ranks);
          for (std::int64_t m = 0; m < plan.micro_batches(); ++m) {
            for (std::int64_t i = 0; i < plan.micro_batch(); ++i) seen.push_back(plan.first_sample(step, m) + i);
          }
        }
        EXPECT_EQ(seen, expected) << ranks << " ranks, micro batch " << micro;
      }
    }
  }
}

TEST(BatchPlan, RefusesSizesThatDoNotDivide) {
  EXPECT_THROW(BatchPlan(8, 3, 0, 0), InternalError);
  EXPECT_THROW(BatchPlan(8, 2, 0, 3), InternalError);
  EXPECT_THROW(BatchPlan(8, 2, 2, 1), InternalError);
}

/// A file whose token i has id i.
TokenFile counting_file(Scratch const& folder, std::int32_t tokens) {
  TokenWriter writer{folder / "count", tokens};
  for (std::int32_t i = 0; i < tokens; ++i) writer.add(std::span{&i, 1});
  writer.end_document();
  writer.finish();
  writer.commit();
  return TokenFile{folder / "count"};
}

TEST(LoadBatch, TargetsAreInputsMovedOnByOne) {
  Scratch const folder;
  Sampler const sampler{counting_file(folder, 101).tokens(), 10, 5};
  Dataset dataset{{.train = folder / "count"}, 10, 5};
  std::vector<std::int32_t> inputs(30);
  std::vector<std::int32_t> targets(30);
  load(dataset, 10, 8, 3, 101, {}, {inputs, targets});  // crosses into the second epoch
  for (std::int64_t i = 0; i < 3; ++i) {
    std::int64_t const offset = sampler.token_offset(8 + i);
    for (std::int64_t t = 0; t < 10; ++t) {
      EXPECT_EQ(inputs[static_cast<std::size_t>(i * 10 + t)], offset + t);
      EXPECT_EQ(targets[static_cast<std::size_t>(i * 10 + t)], offset + t + 1);
    }
  }
}

TEST(LoadBatch, ChecksTheLastTargetToo) {
  Scratch const folder;
  TokenFile const file = counting_file(folder, 5);
  std::vector<std::int32_t> inputs(4);
  std::vector<std::int32_t> targets(4);
  load(file, Windows{5, 4}, 0, 1, 5, {}, {inputs, targets});
  EXPECT_THROW(load(file, Windows{5, 4}, 0, 1, 4, {}, {inputs, targets}), DataError);
}

TEST(LoadBatch, SequencesOfOneToken) {
  Scratch const folder;
  TokenFile const file = counting_file(folder, 4);
  std::vector<std::int32_t> inputs(3);
  std::vector<std::int32_t> targets(3);
  load(file, Windows{4, 1}, 0, 3, 4, {}, {inputs, targets});
  EXPECT_EQ(inputs, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(targets, (std::vector<std::int32_t>{1, 2, 3}));
}

}  // namespace
}  // namespace jreg::data
