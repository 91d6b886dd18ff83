// A whole model on sequences of several documents: nothing of an earlier one reaches a later one.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "mpi/session.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

/// Tokens in memory.
class Tokens : public data::TokenStream {
public:
  Tokens(std::vector<std::int32_t> ids, std::vector<std::int64_t> begins)
      : ids_{std::move(ids)}, begins_{std::move(begins)} {}

  std::string const& name() const noexcept override { return name_; }
  std::int64_t tokens() const noexcept override { return static_cast<std::int64_t>(ids_.size()); }
  void read(std::int64_t first, std::span<std::int32_t> out, std::int64_t) const override {
    std::copy_n(ids_.begin() + first, out.size(), out.begin());
  }
  bool knows_documents() const noexcept override { return true; }
  std::int64_t next_document(std::int64_t position) const override {
    auto const at = std::ranges::upper_bound(begins_, position);
    return at == begins_.end() ? tokens() : *at;
  }

private:
  std::string name_ = "tokens in memory";
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> begins_;
};

constexpr std::int64_t length = 16;
constexpr std::int64_t border = 10;        // the second document's first token
constexpr std::int32_t first_of_own = 50;  // ids that the second document alone has

/// Two sequences; in the first a document of `border` tokens, which depend on `variant`, and another.
Tokens stream_of(int variant) {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i <= 2 * length; ++i) {
    bool const later = i >= border && i < length;
    bool const changed = i < border;
    ids.push_back(later ? first_of_own + i - static_cast<std::int32_t>(border)
                        : (changed ? (i * 7 + variant * 11) % 40 : i % 40));
  }
  return {std::move(ids), {border, length, length + 5}};
}

struct Passed {
  std::vector<float> logits;    // rows of both sequences
  std::vector<float> gradient;  // of this rank's rows of the embedding
};

/// Forward and backward pass, penalty included.
Passed pass(TinyRun& run, bool mask, int variant) {
  train::BatchFeeder feeder{*run.backend, length, 2, {.mask = mask}};
  Tokens const tokens = stream_of(variant);
  auto& model = run.session.model();
  backend::Tensor logits;
  backend::Tensor loss;
  backend::Arena const arena{*run.backend, [&](backend::Placer& placer) {
                               logits = placer.tensor(DType::f32, 2 * length, model.dimensions().vocab_rows);
                               loss = placer.tensor(DType::f64, 1, 1);
                             }};
  params::Store& store = run.session.store();
  run.backend->ops().zero(store.flat_gradients({0, store.registry().flat_size()}));
  run.backend->ops().zero(loss);
  auto const batch = feeder.load(tokens, data::Windows{tokens.tokens(), length}, 0, 2, run.config.model.vocab);
  model.forward(batch);
  model.logits(logits);
  model.loss_and_gradient(batch, loss, 0.1F);
  model.backward(batch, std::vector<double>{0.1, 0.2, 0.3}, {});
  backend::Tensor const gradient = store.gradient(0);
  Passed passed;
  passed.logits.resize(static_cast<std::size_t>(logits.size()));
  passed.gradient.resize(static_cast<std::size_t>(gradient.size()));
  run.backend->copy_to_host(passed.logits.data(), logits.data, static_cast<std::size_t>(logits.bytes()));
  run.backend->copy_to_host(passed.gradient.data(), gradient.data, static_cast<std::size_t>(gradient.bytes()));
  return passed;
}

/// Elements of rows [begin, end) of a matrix that differ.
std::int64_t differing(std::vector<float> const& a, std::vector<float> const& b, std::int64_t columns,
                       std::int64_t begin, std::int64_t end) {
  std::int64_t count = 0;
  for (auto i = static_cast<std::size_t>(begin * columns); i < static_cast<std::size_t>(end * columns); ++i) {
    count += a[i] != b[i];
  }
  return count;
}

config::Config packed_config() {
  config::Config config = tiny_config();
  config.train.sequence_length = length;
  config.train.global_batch = 2;
  config.mesh.tensor = mpi::launched_ranks();
  config.mesh.sequence_parallel = config.mesh.tensor > 1;
  return config;
}

TEST(DocumentsInAModel, AnEarlierOneLeavesLogitsAndGradientsOfALaterOneBitEqual) {
  for (char const* const precision : {"fp32", "bf16"}) {
    config::Config config = packed_config();
    config.run.precision = precision;
    TinyRun run{config, MPI_COMM_WORLD};
    params::Parameter const& embedding = run.session.store().registry()[0];
    ASSERT_EQ(embedding.declared.name, "model.embed_tokens.weight");
    // This rank's rows of the ids that the later document alone has.
    std::int64_t const begin = std::clamp<std::int64_t>(first_of_own - embedding.row_begin, 0, embedding.local_rows());
    std::int64_t const end =
        std::clamp<std::int64_t>(first_of_own + length - border - embedding.row_begin, 0, embedding.local_rows());
    std::int64_t const columns = run.session.model().dimensions().vocab_rows;
    std::int64_t const hidden = config.model.hidden;

    Passed const a = pass(run, true, 0);
    Passed const b = pass(run, true, 1);
    EXPECT_GT(differing(a.logits, b.logits, columns, 0, border), 0);
    EXPECT_EQ(differing(a.logits, b.logits, columns, border, 2 * length), 0);
    EXPECT_EQ(differing(a.gradient, b.gradient, hidden, begin, end), 0);
    std::vector<float> const zeros(a.gradient.size());
    EXPECT_EQ(differing(a.gradient, zeros, hidden, begin, end) > 0, end > begin);

    Passed const c = pass(run, false, 0);
    Passed const d = pass(run, false, 1);
    EXPECT_GT(differing(c.logits, d.logits, columns, border, length), 0) << "without the mask it does";
    EXPECT_EQ(differing(c.gradient, d.gradient, hidden, begin, end) > 0, end > begin);
  }
}

TEST(DocumentsInAModel, PositionsRestartSoThatWhereADocumentStandsDoesNotMatter) {
  TinyRun run{packed_config(), MPI_COMM_WORLD};
  std::int64_t const columns = run.session.model().dimensions().vocab_rows;
  backend::Tensor logits;
  backend::Arena const arena{*run.backend,
                             [&](backend::Placer& placer) { logits = placer.tensor(DType::f32, 2 * length, columns); }};
  // The same six tokens as the second document of one sequence and as the first of the other.
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i <= 2 * length; ++i) ids.push_back(i < border ? i : i * 5 % 67);
  std::copy_n(ids.begin() + border, length - border, ids.begin() + length);
  Tokens const tokens{ids, {border, length, length + 6}};
  train::BatchFeeder feeder{*run.backend, length, 2, {.mask = true}};
  run.session.model().forward(
      feeder.load(tokens, data::Windows{tokens.tokens(), length}, 0, 2, run.config.model.vocab));
  run.session.model().logits(logits);
  std::vector<float> values(static_cast<std::size_t>(logits.size()));
  run.backend->copy_to_host(values.data(), logits.data, static_cast<std::size_t>(logits.bytes()));
  for (std::int64_t i = 0; i < (length - border) * columns; ++i) {
    EXPECT_NEAR(values[static_cast<std::size_t>(border * columns + i)],
                values[static_cast<std::size_t>(length * columns + i)], 2e-5);
  }
}

}  // namespace
}  // namespace jreg::test
