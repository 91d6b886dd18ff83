#include "train/rehearsal.h"

#include "train/checkpointing.h"
#include "train/evaluation.h"

namespace jreg::train {
namespace {

using backend::rehearsal::Finish;
using backend::rehearsal::Group;
using backend::rehearsal::RehearsalBackend;
using backend::rehearsal::Trace;
using backend::rehearsal::Transfer;

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

/// Where the weights of the update that begins at `from` set out, or `from` where they do not.
std::size_t begin_of_gather(Trace const& trace, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) {
    auto const* const transfer = std::get_if<Transfer>(&trace.events[i]);
    bool const gather = transfer != nullptr && !transfer->waits && transfer->group == Group::data &&
                        transfer->kind == backend::CollectiveKind::all_gather;
    if (gather) return i;
  }
  return from;
}

/// Of two updates, the second of which begins at event `second`, what is repeated: from where the new weights of the
/// first one set out, which the forward pass of the second waits for, to where those of the second do.
Trace period(Trace const& two, std::size_t second) {
  std::size_t const begin = begin_of_gather(two, 0, second);
  bool const gathers = begin != 0;
  std::size_t const from = gathers ? begin : second;
  std::size_t const to = gathers ? begin_of_gather(two, second, two.events.size()) : two.events.size();
  Trace one;
  std::size_t before = 0;  // transfers begun before
  for (std::size_t i = 0; i < to; ++i) {
    auto const* const transfer = std::get_if<Transfer>(&two.events[i]);
    bool const begins = transfer != nullptr && !transfer->waits;
    if (i < from) {
      before += begins ? 1 : 0;
      continue;
    }
    one.events.push_back(two.events[i]);
    one.begun += begins ? 1 : 0;
    if (auto* const finish = std::get_if<Finish>(&one.events.back())) finish->begun -= before;
  }
  return one;
}

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
  std::size_t const first = backend_.trace().events.size();
  updater.update(1, false);
  session_.adamw().gather().finish();
  one_update_ = period(backend_.trace(), first);
  return one_update_;
}

Measure measure_of(config::Config const& config) {
  return config.jreg.lambda > 0 ? Measure::penalty : Measure::statistics;
}

}  // namespace jreg::train
