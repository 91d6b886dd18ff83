// Looking at a model without training it: memory, and the same numbers on every mesh and in every way of asking.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "data/memory_tokens.h"
#include "mpi/session.h"
#include "train/evaluation.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

constexpr std::int64_t token_count = 16 * 9 + 5;
constexpr train::Measures everything{.statistics = true, .histograms = true, .logit_lens = true, .skip_layers = true};

data::MemoryTokens sample_tokens() {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < token_count; ++i) ids.push_back(i * i % 67);
  return {"tokens", std::move(ids)};
}

/// What a rank holds to look at the initial weights of tiny_config.
struct Looker {
  Looker(config::Config asked, MPI_Comm comm, data::Windows const& windows)
      : config{TinyRun::resolved(std::move(asked))},
        world{mpi::Communicator::duplicate(comm)},
        backend{backend::make_backend("cpu", 0)},
        mesh{world, *backend, static_cast<int>(config.mesh.tensor), config.model.kv_heads,
             config.mesh.sequence_parallel},
        session{config, *backend, mesh},
        feeder{*backend, config.train.sequence_length, session.micro_batch()},
        evaluator{session, feeder, tokens, windows} {
    params::Registry const& registry = session.store().registry();
    std::vector<float> values;
    for (std::size_t i = 0; i < registry.all().size(); ++i) {
      params::Parameter const& p = registry[i];
      values.resize(static_cast<std::size_t>(p.size()));
      params::initial_values(registry, {i, p.row_begin, p.row_end, {p.offset, p.end()}}, config.run.seed,
                             values.data());
      params::write_weights(*backend, session.store(), {p.offset, p.end()}, values.data());
    }
  }

  config::Config config;
  data::MemoryTokens tokens = sample_tokens();
  mpi::Communicator world;
  std::unique_ptr<backend::Backend> backend;
  mesh::Mesh mesh;
  train::ModelSession session;
  train::BatchFeeder feeder;
  train::Evaluator evaluator;
};

data::Windows side_by_side() {
  return {token_count, 16};
}

TEST(ModelSession, HoldsNeitherGradientsNorMoments) {
  for (char const* const precision : {"fp32", "bf16"}) {
    config::Config config = tiny_config();
    config.run.precision = precision;
    config.model.layers = 12;
    std::size_t const training = TinyRun{config, MPI_COMM_SELF}.backend->bytes_in_use();
    Looker look{config, MPI_COMM_SELF, side_by_side()};
    params::Store const& store = look.session.store();
    EXPECT_THROW(store.gradient(0), InternalError);
    auto const weights = static_cast<std::size_t>(store.registry().flat_size()) * size_of(store.dtype());
    // Beside the weights and activations a few tables of sums and one batch of tokens.
    std::size_t const known = weights + look.session.model().activation_bytes();
    EXPECT_LE(look.backend->bytes_in_use(), known + 16384);
    // Two moments and a gradient in fp32, in bf16 the master weights too.
    std::size_t const state = static_cast<std::size_t>(store.registry().flat_size()) * 4;
    EXPECT_GT(training, look.backend->bytes_in_use() + (size_of(store.dtype()) == 2 ? 4 : 3) * state);
  }
}

TEST(Evaluator, SeesTheSameWithAndWithoutTraining) {
  config::Config const config = tiny_config();
  TinyRun run{config, MPI_COMM_WORLD};
  data::MemoryTokens const tokens = sample_tokens();
  train::Evaluator training{run.session, run.feeder, tokens, side_by_side()};
  Looker looking{config, MPI_COMM_WORLD, side_by_side()};
  auto const ours = looking.evaluator.probe(3, 5).value();
  auto const recorded = training.probe(3, 5).value();
  EXPECT_EQ(ours.loss, recorded.loss);
  EXPECT_EQ(ours.displacement, recorded.displacement);
  EXPECT_EQ(ours.cosine_std, recorded.cosine_std);
  EXPECT_EQ(ours.displacement_histogram, recorded.displacement_histogram);
  EXPECT_EQ(looking.evaluator.loss(9).value(), training.loss(9).value());
  EXPECT_THROW(training.look(5, everything), InternalError) << "that would spoil what backward needs";
}

TEST(Evaluator, IsInterruptedAlikeOnEveryRank) {
  TinyRun run{tiny_config(), MPI_COMM_WORLD};
  data::MemoryTokens const tokens = sample_tokens();
  int asked = 0;
  train::Evaluator evaluator{run.session, run.feeder, tokens, side_by_side(), [&] { return ++asked == 2; }};
  EXPECT_EQ(evaluator.loss(9), std::nullopt);
  EXPECT_EQ(asked, 2);
}

void expect_near(double ours, double reference, double absolute, char const* what) {
  EXPECT_LE(std::abs(ours - reference), 2e-5 * std::abs(reference) + absolute) << what;
}

void expect_same(train::Look const& ours, train::Look const& one) {
  EXPECT_EQ(ours.tokens, one.tokens);
  expect_near(ours.loss, one.loss, 0, "loss");
  ASSERT_EQ(ours.logit_lens_loss.size(), 4U);
  ASSERT_EQ(ours.skip_layer_loss.size(), 3U);
  for (std::size_t l = 0; l < 4; ++l) {
    expect_near(ours.logit_lens_loss[l], one.logit_lens_loss[l], 0, "logit lens");
    expect_near(ours.jump.hidden_norm[l], one.jump.hidden_norm[l], 0, "norm");
  }
  for (std::size_t l = 0; l < 3; ++l) {
    expect_near(ours.skip_layer_loss[l], one.skip_layer_loss[l], 0, "skipped layer");
    expect_near(ours.jump.displacement[l], one.jump.displacement[l], 1e-5, "Psi");
    auto const row = ours.displacement_histogram.begin() + static_cast<std::ptrdiff_t>(l) * jump::histogram_bins;
    EXPECT_EQ(std::accumulate(row, row + jump::histogram_bins, std::int64_t{0}), ours.tokens);
  }
}

TEST(Evaluator, SeesTheSameOnEveryMesh) {
  struct Case {
    std::int64_t tensor;
    bool sequence_parallel;
    std::int64_t micro_batch;
  };
  config::Config config = tiny_config();
  for (data::Windows const& windows :
       {side_by_side(), data::Windows::sliding(token_count, 16, 3), data::Windows::sliding(token_count, 16, 16)}) {
    auto const one = Looker{config, MPI_COMM_SELF, windows}.evaluator.look(1000, everything).value();
    EXPECT_EQ(one.tokens, windows.counted(windows.count()));
    expect_near(one.logit_lens_loss.back(), one.loss, 0, "the lens at the last state is the model");
    expect_near(one.skip_layer_loss.back(), one.logit_lens_loss[2], 0, "without the last block h_{L-1} is read");
    for (Case const& c : {Case{1, false, 1}, Case{2, false, 2}, Case{2, true, 2}, Case{4, true, 1}}) {
      if (mpi::launched_ranks() % c.tensor != 0) continue;
      config::Config many = config;
      many.mesh.tensor = c.tensor;
      many.mesh.sequence_parallel = c.sequence_parallel;
      many.train.micro_batch = c.micro_batch;
      expect_same(Looker{many, MPI_COMM_WORLD, windows}.evaluator.look(1000, everything).value(), one);
    }
  }
}

}  // namespace
}  // namespace jreg::test
