// What backward computes again changes memory, and not one bit of what a run computes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "mpi/session.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

struct Case {
  std::string name;
  std::string precision = "fp32";
  int tensor = 1;
  bool sequence_parallel = false;
  std::int64_t micro_batch = 0;
  std::string penalty = "displacement";
  std::string final_state = "block";
  bool tied = false;
  bool documents = false;
};

config::Config config_of(Case const& c, std::string const& recompute) {
  config::Config config = tiny_config();
  config.run.precision = c.precision;
  config.mesh.tensor = c.tensor;
  config.mesh.sequence_parallel = c.sequence_parallel;
  config.train.micro_batch = c.micro_batch;
  config.train.recompute = recompute;
  config.jreg.penalty = c.penalty;
  config.jreg.final_state = c.final_state;
  config.model.tie_embeddings = c.tied;
  return config;
}

/// Where each token's document begins in its sequence: they are 5, 1 and 7 tokens long, and again.
std::vector<std::int32_t> document_begins(std::int64_t sequences, std::int64_t length) {
  std::vector<std::int32_t> first;
  for (std::int64_t token = 0; token < sequences * length; ++token) {
    std::int64_t const position = token % length;
    std::int64_t const within = position % 13;
    first.push_back(static_cast<std::int32_t>(position - within + (within < 5 ? 0 : (within < 6 ? 5 : 6))));
  }
  return first;
}

/// A run whose updates can be given documents.
struct MaskedRun : TinyRun {
  MaskedRun(Case const& c, std::string const& recompute)
      : TinyRun{config_of(c, recompute), MPI_COMM_WORLD},
        begins{*backend,
               [&](backend::Placer& placer) {
                 first = placer.tensor(DType::i32, 1, session.micro_batch() * config.train.sequence_length);
               }},
        masked{session, config.jreg, true, [this, documents = c.documents](std::int64_t step, std::int64_t micro) {
                 model::MicroBatch batch = batch_of(step, micro);
                 if (documents) batch.first = first;
                 return batch;
               }} {
    std::vector<std::int32_t> const values = document_begins(session.micro_batch(), config.train.sequence_length);
    backend->copy_from_host(first.data, values.data(), static_cast<std::size_t>(first.bytes()));
  }

  model::MicroBatch batch_of(std::int64_t step, std::int64_t micro) {
    std::int64_t const per_rank = config.train.global_batch / mesh.at().data_size;
    return feeder.synthetic(
        config.run.seed, step * config.train.global_batch + mesh.at().data * per_rank + micro * session.micro_batch(),
        session.micro_batch(), config.model.vocab);
  }

  std::vector<float> host(backend::Tensor const& flat) {
    std::vector<float> values(static_cast<std::size_t>(flat.size()));
    backend->copy_to_host(values.data(), flat.data, static_cast<std::size_t>(flat.bytes()));
    return values;
  }
  std::vector<float> gradients() {
    params::Store const& store = session.store();
    return host(store.flat_gradients({0, store.registry().flat_size()}));
  }
  std::vector<float> weights() {
    params::Store const& store = session.store();
    return host(store.flat_weights({0, store.registry().flat_size()}));
  }

  backend::Tensor first;
  backend::Arena begins;
  train::Updater masked;
};

/// What a run of a few updates leaves.
struct Observed {
  std::vector<train::UpdateResult> results;
  std::vector<std::vector<float>> gradients;  // of each update
  std::vector<float> weights;
  std::int64_t activation_bytes = 0;
  std::int64_t sent_bytes = 0;  // payload to the tensor group in the first update
};
Observed observe(Case const& c, char const* recompute) {
  MaskedRun run{c, recompute};
  Observed observed;
  observed.activation_bytes = static_cast<std::int64_t>(run.session.model().activation_bytes());
  std::int64_t const before = run.mesh.tensor().traffic().total().handed_in;
  for (std::int64_t step = 0; step < 2; ++step) {  // the second with the gates and weights of the first
    observed.results.push_back(run.masked.update(step, false));
    observed.gradients.push_back(run.gradients());
    if (step == 0) observed.sent_bytes = run.mesh.tensor().traffic().total().handed_in - before;
  }
  observed.weights = run.weights();
  return observed;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_same_bits(Observed const& again, Observed const& kept) {
  for (std::size_t step = 0; step < kept.results.size(); ++step) {
    EXPECT_EQ(again.results[step].loss, kept.results[step].loss);
    EXPECT_EQ(again.results[step].jreg, kept.results[step].jreg);
    EXPECT_EQ(again.results[step].grad_norm, kept.results[step].grad_norm);
    EXPECT_EQ(again.results[step].jump.displacement, kept.results[step].jump.displacement);
    EXPECT_TRUE(same_bits(again.gradients[step], kept.gradients[step])) << "step " << step;
  }
  EXPECT_TRUE(same_bits(again.weights, kept.weights));
}

/// Bytes of a tensor, which begins at a multiple of 64.
std::int64_t padded(std::int64_t elements, std::int64_t size) {
  return (elements * size + 63) / 64 * 64;
}

/// What the shapes of the tiny model say that one block keeps on a rank: 16 tokens a sequence, hidden 32, 4 query and 2
/// key/value heads of 8, ffn 48.
struct KeptOfABlock {
  std::int64_t attention = 0;
  std::int64_t mlp = 0;
  std::int64_t middle = 0;
};
KeptOfABlock kept_of_a_block(std::int64_t sequences, std::int64_t tensor, std::int64_t split, std::int64_t size) {
  std::int64_t const tokens = 16 * sequences;
  std::int64_t const query = 4 / tensor * 8;
  std::int64_t const key_value = std::max<std::int64_t>(1, 2 / tensor) * 8;
  return {.attention = padded(tokens * (query + 2 * key_value), size) + padded(tokens * query, size) +
                       padded(tokens * 4 / tensor, 4),
          .mlp = padded(tokens * 2 * 48 / tensor, size),
          .middle = padded(tokens / split * 32, size)};
}

/// What the blocks in front of the last, two of the tiny model's three, hand to the tensor group once more in an
/// update: their sum behind attention (whole partial sums) and, where tokens are split, the gather before it (this
/// rank's).
std::int64_t repeated_bytes(Case const& c) {
  if (c.tensor == 1) return 0;
  std::int64_t const tokens = 16 * 8 * c.tensor / mpi::launched_ranks();  // all micro-batches
  std::int64_t const row = 32 * (c.precision == "bf16" ? 2 : 4);
  return 2 * row * (tokens + (c.sequence_parallel ? tokens / c.tensor : 0));
}

class Recomputation : public testing::TestWithParam<Case> {};

TEST_P(Recomputation, ChangesMemoryAndTrafficAsCountedAndNoBit) {
  Case const& c = GetParam();
  std::int64_t const sequences = c.micro_batch > 0 ? c.micro_batch : 8 * c.tensor / mpi::launched_ranks();
  KeptOfABlock const kept =
      kept_of_a_block(sequences, c.tensor, c.sequence_parallel ? c.tensor : 1, c.precision == "bf16" ? 2 : 4);
  constexpr std::int64_t others = 2;  // blocks beside the one whose memory all share

  Observed const none = observe(c, "none");
  for (auto const& gradients : none.gradients) {
    EXPECT_TRUE(std::ranges::any_of(gradients, [](float value) { return value != 0; }));
  }
  Observed const attention = observe(c, "attention");
  expect_same_bits(attention, none);
  EXPECT_EQ(none.activation_bytes - attention.activation_bytes, others * kept.attention);
  EXPECT_EQ(attention.sent_bytes, none.sent_bytes);

  Observed const mlp = observe(c, "mlp");
  expect_same_bits(mlp, none);
  EXPECT_EQ(none.activation_bytes - mlp.activation_bytes, others * kept.mlp);
  EXPECT_EQ(mlp.sent_bytes, none.sent_bytes);

  Observed const block = observe(c, "block");
  expect_same_bits(block, none);
  EXPECT_EQ(none.activation_bytes - block.activation_bytes, others * (kept.attention + kept.mlp + kept.middle));
  EXPECT_EQ(block.sent_bytes - none.sent_bytes, repeated_bytes(c));
}

/// The meshes that the ranks of this launch can form.
std::vector<Case> cases() {
  std::vector<Case> all{{"data"},
                        {"data_bf16_accumulate_documents", "bf16", 1, false, 1, "jump", "block", false, true},
                        {"data_normed_tied", "fp32", 1, false, 0, "displacement", "normed", true},
                        {"tensor2_accumulate", "fp32", 2, false, 2},
                        {"tensor2_bf16_tied_documents", "bf16", 2, false, 0, "displacement", "block", true, true},
                        {"tensor2_sequence_documents", "fp32", 2, true, 0, "jump", "normed", false, true},
                        {"tensor2_sequence_bf16_accumulate_tied", "bf16", 2, true, 1, "displacement", "block", true},
                        {"tensor4", "fp32", 4},
                        {"tensor4_sequence_accumulate", "fp32", 4, true, 2, "jump"},
                        {"tensor4_sequence_bf16_documents", "bf16", 4, true, 0, "displacement", "normed", true, true}};
  std::erase_if(all, [](Case const& c) { return mpi::launched_ranks() % c.tensor != 0; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Meshes, Recomputation, testing::ValuesIn(cases()),
                         [](auto const& tested) { return tested.param.name; });

}  // namespace
}  // namespace jreg::test
