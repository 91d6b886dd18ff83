#include "train/rehearsal.h"

#include "train/checkpointing.h"
#include "train/evaluation.h"

namespace jreg::train {
namespace {

using backend::rehearsal::Group;
using backend::rehearsal::RehearsalBackend;

mesh::Mesh rehearsal_mesh(config::Config const& config, int world, int rank, RehearsalBackend& backend) {
  auto const at = mesh::Coordinates::of(rank, world, static_cast<int>(config.mesh.tensor));
  int const replicas = mesh::kv_replicas(config.model.kv_heads, at.tensor_size);
  return {at, config.mesh.sequence_parallel,
          mesh::Groups{.data = backend.group(Group::data, at.data, at.data_size),
                       .tensor = backend.group(Group::tensor, at.tensor, at.tensor_size),
                       .kv_replica = backend.group(Group::kv_replica, at.tensor % replicas, replicas),
                       .all = backend.group(Group::all, rank, world)}};
}

/// Tokens that nobody reads.
class NoTokens : public data::TokenStream {
public:
  explicit NoTokens(std::int64_t tokens) : tokens_{tokens} {}
  std::string const& name() const noexcept override { return name_; }
  std::int64_t tokens() const noexcept override { return tokens_; }
  void read(std::int64_t, std::span<std::int32_t>, std::int64_t) const override {}
  bool knows_documents() const noexcept override { return false; }
  std::int64_t next_document(std::int64_t) const override { return tokens_; }

private:
  std::string name_ = "no tokens";
  std::int64_t tokens_;
};

BatchSource nothing_to_read() {
  return [](std::int64_t, std::int64_t) { return model::MicroBatch{}; };
}

}  // namespace

Rehearsal::Rehearsal(config::Config const& config, int world, int rank, std::size_t logits_bytes)
    : config_{config},
      backend_{logits_bytes},
      mesh_{rehearsal_mesh(config, world, rank, backend_)},
      session_{config, backend_, mesh_},
      memory_{account()},
      host_bytes_{static_cast<std::int64_t>(snapshot_elements(session_) * sizeof(float))} {}

std::vector<MemoryTerm> Rehearsal::account() {
  std::vector<MemoryTerm> terms = memory_terms(session_);
  std::int64_t known = 0;
  for (MemoryTerm const& term : terms) known += term.bytes;
  auto const add_rest = [&](char const* name) {
    memory_bytes_ = static_cast<std::int64_t>(backend_.bytes_in_use());
    terms.push_back({name, memory_bytes_ - known});
    known = memory_bytes_;
  };
  add_rest("tables and alignment");
  // What the trainer holds beside its session.
  std::int64_t const length = config_.train.sequence_length;
  BatchFeeder feeder{backend_, length, session_.micro_batch(), {config_.data.document_mask, config_.data.eos}};
  add_rest("tokens");
  NoTokens const file{length + 1};
  Updater const updater{session_, config_.jreg, true, nothing_to_read()};
  Evaluator const evaluator{session_, feeder, file, data::Windows{file.tokens(), length}};
  add_rest("packed sums");
  return terms;
}

std::int64_t Rehearsal::micro_batches() const noexcept {
  return config_.train.global_batch / mesh_.at().data_size / session_.micro_batch();
}

backend::rehearsal::Trace const& Rehearsal::update(Measure measure, std::int64_t micro_batches) {
  config::JregConfig jreg = config_.jreg;
  jreg.warmup_steps = 0;
  if (measure != Measure::penalty) jreg.lambda = 0;
  if (measure == Measure::penalty && jreg.lambda == 0) jreg.lambda = 0.1;
  model::MicroBatch batch{.sequences = session_.micro_batch()};
  backend::Arena const tokens{backend_, [&](backend::Placer& placer) {
                                std::int64_t const count = batch.sequences * config_.train.sequence_length;
                                batch.tokens = placer.tensor(DType::i32, 1, count);
                                batch.targets = placer.tensor(DType::i32, 1, count);
                              }};
  Updater updater{session_, jreg, measure != Measure::nothing, [&](std::int64_t, std::int64_t) { return batch; }};
  updater.set_micro_batches(micro_batches);
  backend_.trace().clear();
  updater.update(0, false);
  return backend_.trace();
}

Measure measure_of(config::Config const& config) {
  return config.jreg.lambda > 0 ? Measure::penalty : Measure::statistics;
}

}  // namespace jreg::train
