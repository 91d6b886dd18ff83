#pragma once

#include <memory>
#include <optional>

#include "backend/rehearsal/rehearsal_backend.h"
#include "train/batches.h"
#include "train/memory.h"
#include "train/session.h"
#include "train/update.h"

namespace jreg::train {

/// What an update does for JREG: nothing, the statistics that every run records, or the penalty as well.
enum class Measure { nothing, statistics, penalty };

/// One rank of a run that need not exist, made by the program's own code: what a TrainingSession allocates, and what an
/// update of it computes and sends. Needs neither MPI nor the memory.
class Rehearsal {
public:
  /// `config` is resolved and valid for `world` ranks. `logits_bytes`: see backend::Backend::logits_bytes().
  Rehearsal(config::Config const& config, int world, int rank, std::size_t logits_bytes);

  mesh::Mesh const& mesh() const noexcept { return mesh_; }
  std::int64_t parameters() const noexcept { return session_.store().registry().global_size(); }

  /// Memory of a rank in `jreg train` by what it holds, and its sum: exactly what the backend counts as in use.
  std::vector<MemoryTerm> const& memory() const noexcept { return memory_; }
  std::int64_t memory_bytes() const noexcept { return memory_bytes_; }
  /// Host memory of the copy for checkpoints.
  std::int64_t host_bytes() const noexcept { return host_bytes_; }

  /// Micro-batches of an update.
  std::int64_t micro_batches() const noexcept;
  /// What one update of the run does, or one of so many micro-batches. Good until the next call. Two are rehearsed, as
  /// new weights of one are waited for in the next, and count in the mesh's traffic.
  backend::rehearsal::Trace const& update(Measure measure) { return update(measure, micro_batches()); }
  backend::rehearsal::Trace const& update(Measure measure, std::int64_t micro_batches);

private:
  std::vector<MemoryTerm> account();

  config::Config config_;
  backend::rehearsal::RehearsalBackend backend_;
  mesh::Mesh mesh_;
  TrainingSession session_;
  std::int64_t memory_bytes_ = 0;
  std::vector<MemoryTerm> memory_;  // filled together with the sum above
  std::int64_t host_bytes_ = 0;
  backend::rehearsal::Trace one_update_;
};

/// What config's run does: the penalty where jreg.lambda asks for one.
Measure measure_of(config::Config const& config);

}  // namespace jreg::train
