#include "train/rehearsal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "config/validate.h"

namespace jreg::train {
namespace {

using backend::rehearsal::Operation;
using backend::rehearsal::Trace;
using backend::rehearsal::Transfer;
using backend::rehearsal::Work;

/// Sizes that are easy to count with: 2 layers, hidden 64, 4/2 heads of 16, ffn 128, vocabulary 256.
config::Config small_config() {
  config::Config config;
  config.model.layers = 2;
  config.model.hidden = 64;
  config.model.heads = 4;
  config.model.kv_heads = 2;
  config.model.ffn = 128;
  config.model.vocab = 256;
  config.train.sequence_length = 32;
  config.train.global_batch = 8;
  config.run.precision = "bf16";
  config::resolve(config);
  return config;
}

constexpr std::int64_t parameters = 2 * 256 * 64 + 2 * (64 * (64 + 32 + 32) + 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64;

std::map<std::string, std::int64_t> terms_of(config::Config const& config, int world) {
  Rehearsal const rehearsal{config, world, 0, 1 << 20};
  std::map<std::string, std::int64_t> terms;
  for (MemoryTerm const& term : rehearsal.memory()) terms[term.name] = term.bytes;
  return terms;
}

TEST(Rehearsal, CountsMemoryAsByHand) {
  auto const terms = terms_of(small_config(), 1);
  EXPECT_EQ(terms.at("weights"), 2 * parameters);
  EXPECT_EQ(terms.at("gradients"), 4 * parameters);
  EXPECT_EQ(terms.at("master weights"), 4 * parameters);
  EXPECT_EQ(terms.at("moments"), 8 * parameters);
  std::int64_t const tokens = 8 * 32;
  // qkv, attended, middle, gate and up in bf16; two rstd and a log-sum-exp for each of 4 heads in fp32.
  EXPECT_EQ(terms.at("activations of blocks"), 2 * tokens * (2 * (128 + 64 + 64 + 256) + 4 * (2 + 4)));
  // 3 states and the final normed one; their norms, for 2 of them displacement and update, and the final rstd.
  EXPECT_EQ(terms.at("hidden states"), tokens * (2 * 4 * 64 + 4 * (3 + 2 * 2 + 1)));
  // normed, partial and the gradient of the states; maximum and two sums a token.
  std::int64_t const always = tokens * (2 * 3 * 64 + 4 * 3);
  // In the same memory: mlp and its gradient, gradients of qkv and of attended; and fp32 and bf16 logits of all tokens.
  std::int64_t const of_blocks = 2 * tokens * (2 * 128 + 128 + 64);
  std::int64_t const of_classifier = tokens * 6 * 256;
  EXPECT_EQ(terms.at("scratch of a pass"), always + std::max(of_blocks, of_classifier));
  EXPECT_EQ(terms.at("tokens"), 2 * 4 * tokens);
  config::Config rounded = small_config();
  rounded.optim.master_weights = false;
  auto without = terms_of(rounded, 1);
  EXPECT_EQ(without.count("master weights"), 0U);
  without["master weights"] = terms.at("master weights");
  EXPECT_EQ(without, terms) << "all else is the same";
}

TEST(Rehearsal, SplitsMemoryAsTheMeshDoes) {
  config::Config config = small_config();
  config.train.micro_batch = 2;
  auto const one = terms_of(config, 1);
  config.mesh.zero1 = true;
  auto const four = terms_of(config, 4);
  EXPECT_EQ(four.at("weights"), one.at("weights"));
  EXPECT_NEAR(static_cast<double>(four.at("moments")), static_cast<double>(one.at("moments")) / 4, 8 * 128);
  EXPECT_EQ(four.at("activations of blocks"), one.at("activations of blocks"));
  config.mesh.tensor = 2;
  config.mesh.sequence_parallel = true;
  auto const split = terms_of(config, 4);
  EXPECT_NEAR(static_cast<double>(split.at("weights")), static_cast<double>(one.at("weights")) / 2, 2 * 5 * 64);
  EXPECT_EQ(split.at("activations of blocks"), one.at("activations of blocks") / 2);
  EXPECT_EQ(split.at("hidden states"), one.at("hidden states") / 2);
}

TEST(Rehearsal, KeepsLessWhereMoreIsComputedAgain) {
  config::Config config = small_config();
  std::map<std::string, std::int64_t> kept;
  for (char const* const recompute : {"none", "attention", "mlp", "block"}) {
    config.train.recompute = recompute;
    kept[recompute] = terms_of(config, 1).at("activations of blocks");
  }
  std::int64_t const tokens = 8 * 32;
  EXPECT_EQ(kept["none"] - kept["attention"], tokens * (2 * (128 + 64) + 4 * 4));
  EXPECT_EQ(kept["none"] - kept["mlp"], tokens * 2 * 256);
  EXPECT_EQ(kept["none"] - kept["block"], tokens * (2 * (128 + 64 + 64 + 256) + 4 * 4));
}

double flop_of(Trace const& trace, Work work) {
  double flop = 0;
  for (auto const& event : trace.events) {
    auto const* const operation = std::get_if<Operation>(&event);
    if (operation != nullptr && operation->work == work) flop += operation->flop;
  }
  return flop;
}

TEST(Rehearsal, CountsArithmeticAsByHand) {
  Rehearsal rehearsal{small_config(), 1, 0, 1 << 20};
  Trace const& trace = rehearsal.update(Measure::statistics);
  double const tokens = 8 * 32;
  double const weights = 2 * (64 * 128 + 64 * 64 + 3 * 64 * 128) + 256 * 64;
  EXPECT_EQ(flop_of(trace, Work::product), 3 * 2 * tokens * weights);
  double const pairs = 32 * 33 / 2;
  EXPECT_EQ(flop_of(trace, Work::attention), 2 * 8 * 4 * 16 * 4 * pairs);
  EXPECT_EQ(flop_of(trace, Work::attention_backward), 2.5 * 2 * 8 * 4 * 16 * 4 * pairs);
}

double bytes_of(Trace const& trace) {
  double bytes = 0;
  for (auto const& event : trace.events) {
    if (auto const* const operation = std::get_if<Operation>(&event)) bytes += operation->bytes;
  }
  return bytes;
}

TEST(Rehearsal, OfJregReadsSixBytesPerElementInBf16) {
  config::Config config = small_config();
  config.model.layers = 40;  // of which the last has one neighbour less
  Rehearsal rehearsal{config, 1, 0, 1 << 20};
  double const per_layer = 8 * 32 * 40;
  double const plain = bytes_of(rehearsal.update(Measure::nothing));
  double const statistics = bytes_of(rehearsal.update(Measure::statistics));
  double const penalty = bytes_of(rehearsal.update(Measure::penalty));
  EXPECT_NEAR((statistics - plain) / per_layer, 2 * 64, 34) << "h_{l-1}, and rows of a few floats";
  EXPECT_NEAR((penalty - statistics) / per_layer, 4 * 64, 34) << "h_{l-1} and h_{l+1}";
}

/// The mean over the two updates that are rehearsed.
std::int64_t handed_in(mesh::GroupTraffic const& group) {
  std::int64_t const both = group.counts[backend::CollectiveKind::all_reduce].handed_in;
  EXPECT_EQ(both % 2, 0);
  return both / 2;
}

TEST(Rehearsal, SendsGradientsOnceAndTokensFourTimesALayer) {
  config::Config config = small_config();
  config.mesh.tensor = 2;
  Rehearsal rehearsal{config, 4, 0, 1 << 20};
  rehearsal.update(Measure::statistics);
  std::int64_t const tokens = 4 * 32;
  auto const traffic = rehearsal.mesh().traffic();
  std::int64_t const gradients = handed_in(traffic[0]);
  std::int64_t const norms = 5 * 64;
  EXPECT_EQ(gradients, 4 * ((parameters - norms) / 2 + norms));
  // 2 (n - 1) / n with n = 2
  EXPECT_EQ(traffic[0].counts[backend::CollectiveKind::all_reduce].wire, 2 * gradients);
  // Embedding, two in each layer's forward and two in its backward pass, one behind the head; the rest is the cross
  // entropy's maxima and pairs of sums, and the norm.
  std::int64_t const wide = 2 * tokens * 64 * (1 + 2 * 4 + 1);
  EXPECT_EQ(handed_in(traffic[1]), wide + tokens * 3 * 4 + 8);
  // One sum of 6 numbers for 3 states, 2 losses and 2 flags.
  EXPECT_EQ(handed_in(traffic[3]), 8 * (3 * 6 + 2 + 2));
}

TEST(Rehearsal, WaitsForNewWeightsInTheNextForwardPass) {
  using backend::rehearsal::Finish;
  using backend::rehearsal::Transfer;
  config::Config config = small_config();
  config.mesh.zero1 = true;
  config.mesh.bucket_mb = 0;  // a bucket a unit
  Rehearsal rehearsal{config, 2, 0, 1 << 20};
  Trace const& trace = rehearsal.update(Measure::statistics);
  std::vector<std::size_t> gathers;  // their numbers, in the order of their beginning
  std::vector<std::size_t> waited;   // position among the events, by number
  std::size_t begun = 0;
  std::size_t embedding = 0;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    if (auto const* const transfer = std::get_if<Transfer>(&trace.events[i]); transfer && !transfer->waits) {
      if (transfer->kind == backend::CollectiveKind::all_gather) gathers.push_back(begun);
      ++begun;
    }
    if (auto const* const finish = std::get_if<Finish>(&trace.events[i])) {
      waited.resize(std::max(waited.size(), finish->begun + 1));
      waited[finish->begun] = i;
    }
    auto const* const operation = std::get_if<Operation>(&trace.events[i]);
    if (operation && operation->work == backend::rehearsal::Work::embedding) embedding = i;
  }
  EXPECT_EQ(begun, trace.begun);
  EXPECT_EQ(waited.size(), begun) << "each transfer is waited for within the period";
  ASSERT_EQ(gathers.size(), 4U) << "embedding, two blocks, final norm and classifier";
  EXPECT_LT(waited[gathers[0]], embedding);
  EXPECT_LT(waited[gathers[1]], embedding);
  EXPECT_GT(waited[gathers[2]], embedding);
  EXPECT_GT(waited[gathers[3]], waited[gathers[2]]);
}

}  // namespace
}  // namespace jreg::train
