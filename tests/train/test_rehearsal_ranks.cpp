// A rehearsal against the run that it stands for: the same bytes of memory and on the wire, on every rank.
#include <gtest/gtest.h>

#include <string>

#include "mpi/session.h"
#include "train/checkpointing.h"
#include "train/evaluation.h"
#include "train/rehearsal.h"
#include "train/tiny_run.h"

namespace jreg::test {
namespace {

struct Case {
  std::string name;
  int tensor = 1;
  bool sequence_parallel = false;
  bool zero1 = false;
  std::int64_t micro_batch = 0;
  std::int64_t kv_heads = 2;
  bool tied = false;
  std::string precision = "fp32";
  std::string recompute = "none";
  bool documents = false;
  bool master_weights = true;
};

class EveryMesh : public testing::TestWithParam<Case> {
protected:
  static config::Config config() {
    Case const& c = GetParam();
    config::Config config = tiny_config();
    config.model.kv_heads = c.kv_heads;
    config.model.tie_embeddings = c.tied;
    config.run.precision = c.precision;
    config.optim.master_weights = c.master_weights;
    config.train.micro_batch = c.micro_batch;
    config.train.recompute = c.recompute;
    config.mesh.tensor = c.tensor;
    config.mesh.sequence_parallel = c.sequence_parallel;
    config.mesh.zero1 = c.zero1;
    config.data.document_mask = c.documents;
    config = TinyRun::resolved(config);
    config::validate(config, mpi::launched_ranks());
    return config;
  }

  static train::Rehearsal rehearsal(config::Config const& config, TinyRun const& run) {
    return {config, run.world.size(), run.world.rank(), run.backend->logits_bytes()};
  }
};

class OneSample : public data::TokenStream {
public:
  std::string const& name() const noexcept override { return name_; }
  std::int64_t tokens() const noexcept override { return 17; }
  void read(std::int64_t, std::span<std::int32_t>, std::int64_t) const override {}
  bool knows_documents() const noexcept override { return false; }
  std::int64_t next_document(std::int64_t) const override { return tokens(); }

private:
  std::string name_ = "one sample";
};

TEST_P(EveryMesh, TakesTheMemoryThatWasPlanned) {
  config::Config const config = EveryMesh::config();
  TinyRun run{config, MPI_COMM_WORLD};
  // TinyRun's own feeder knows nothing of documents; the trainer's does.
  std::size_t const before = run.backend->bytes_in_use();
  train::BatchFeeder feeder{*run.backend,
                            config.train.sequence_length,
                            run.session.micro_batch(),
                            {config.data.document_mask, config.data.eos}};
  auto const feeders = static_cast<std::int64_t>(run.backend->bytes_in_use() - before);
  std::int64_t const plain_feeder = 2 * 4 * config.train.sequence_length * run.session.micro_batch();
  OneSample const file;
  train::Evaluator const evaluator{run.session, feeder, file,
                                   data::Windows{file.tokens(), config.train.sequence_length}};
  auto const held = static_cast<std::int64_t>(run.backend->bytes_in_use()) - plain_feeder;

  train::Rehearsal const planned = rehearsal(config, run);
  EXPECT_EQ(planned.memory_bytes(), held);
  EXPECT_EQ(planned.host_bytes(), static_cast<std::int64_t>(train::Snapshot{run.session}.bytes()));
  std::int64_t sum = 0;
  for (train::MemoryTerm const& term : planned.memory()) {
    EXPECT_GE(term.bytes, 0) << term.name;
    if (term.name == "tokens") {
      EXPECT_EQ(term.bytes, feeders);
    }
    sum += term.bytes;
  }
  EXPECT_EQ(sum, held);

  run.updater.update(0, false);
  EXPECT_EQ(static_cast<std::int64_t>(run.backend->peak_bytes()) - plain_feeder, held) << "an update takes no more";
}

TEST_P(EveryMesh, SendsTheBytesThatWerePlanned) {
  config::Config const config = EveryMesh::config();
  TinyRun run{config, MPI_COMM_WORLD};
  train::Rehearsal planned = rehearsal(config, run);
  planned.update(train::Measure::penalty);  // two updates
  run.updates(2);
  auto const sent = run.mesh.traffic();
  auto const expected = planned.mesh().traffic();
  for (std::size_t group = 0; group < sent.size(); ++group) {
    for (std::size_t kind = 0; kind < backend::collective_names.size(); ++kind) {
      backend::Traffic const& ours = sent.at(group).counts.kinds.at(kind);
      backend::Traffic const& theirs = expected.at(group).counts.kinds.at(kind);
      std::string const what = std::string{sent.at(group).group} + " " + backend::collective_names.at(kind);
      EXPECT_EQ(ours.calls, theirs.calls) << what;
      EXPECT_EQ(ours.handed_in, theirs.handed_in) << what;
      EXPECT_EQ(ours.wire, theirs.wire) << what;
    }
  }
  std::int64_t const all = run.mesh.all().traffic().total().calls + run.mesh.data().traffic().total().calls +
                           run.mesh.tensor().traffic().total().calls;
  EXPECT_EQ(all > 0, run.world.size() > 1);
}

/// The meshes that the ranks of this launch can form.
std::vector<Case> cases() {
  std::vector<Case> all{{.name = "data"},
                        {.name = "data_bf16_documents", .precision = "bf16", .documents = true},
                        {.name = "data_zero1_accumulate_bf16", .zero1 = true, .micro_batch = 1, .precision = "bf16"},
                        {.name = "data_zero1_bf16_alone", .zero1 = true, .precision = "bf16", .master_weights = false},
                        {.name = "data_zero1_tied", .zero1 = true, .tied = true},
                        {.name = "tensor2", .tensor = 2},
                        {.name = "tensor2_one_kv_head", .tensor = 2, .kv_heads = 1},
                        {.name = "tensor2_sequence_zero1", .tensor = 2, .sequence_parallel = true, .zero1 = true},
                        {.name = "tensor2_sequence_accumulate_block",
                         .tensor = 2,
                         .sequence_parallel = true,
                         .micro_batch = 1,
                         .recompute = "block"},
                        {.name = "tensor2_attention_bf16", .tensor = 2, .precision = "bf16", .recompute = "attention"},
                        {.name = "tensor4_tied_mlp", .tensor = 4, .tied = true, .recompute = "mlp"},
                        {.name = "tensor4_sequence_zero1", .tensor = 4, .sequence_parallel = true, .zero1 = true}};
  std::erase_if(all, [](Case const& c) { return mpi::launched_ranks() % c.tensor != 0; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Meshes, EveryMesh, testing::ValuesIn(cases()),
                         [](auto const& tested) { return tested.param.name; });

}  // namespace
}  // namespace jreg::test
