#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "plan/machine.h"
#include "plan/timeline.h"
#include "train/rehearsal.h"

namespace jreg::plan {

/// One way to run a config on some ranks.
struct Plan {
  config::Config config;
  mesh::Coordinates at;  // of the first rank, which stands for all: others differ by single rows of matrices
  std::vector<train::MemoryTerm> memory;
  std::int64_t memory_bytes = 0;  // of tensors on a rank
  std::int64_t host_bytes = 0;    // of a rank's copy for checkpoints
  double room = 0;                // bytes of a rank's memory that are left; negative: it does not fit
  std::string misfit;             // why not; empty: it fits
  Timeline update;                // only where it fits

  std::int64_t micro_batch() const { return train::micro_batch_of(config, at.data_size); }
  std::int64_t tokens() const { return config.train.global_batch * config.train.sequence_length; }
  double tokens_per_second() const { return static_cast<double>(tokens()) / update.seconds; }
  /// Share of all ranks' peak rate, in model FLOP as train::model_flop counts them.
  double share_of_peak(Machine const& machine) const;
  /// "data 8 x tensor 1, sequence parallel, zero1, micro batch 2, recompute none"
  std::string mesh_text() const;
};

/// The first of `world` ranks.
train::Rehearsal rehearse(config::Config const& config, int world, Machine const& machine);
/// A whole update as the rehearsed rank would spend it.
Timeline timeline_of(train::Rehearsal& rehearsal, Machine const& machine, train::Measure measure);

/// Throws UserError where the config cannot run on `world` ranks, or the machine lacks a link that they need.
Plan make_plan(config::Config const& config, int world, Machine const& machine);

/// What fits, the fastest first: numbers of tensor ranks and micro-batches that are powers of two, tensor ranks within
/// a node, with and without sequence parallelism and ZeRO-1, and every train.recompute. Global batch and model stay.
/// Where none fits, the one that misses least, with its `misfit`. Throws UserError where no mesh divides the config.
std::vector<Plan> search(config::Config const& config, int world, Machine const& machine);

}  // namespace jreg::plan
