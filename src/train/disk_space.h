#pragma once

#include <cstdint>
#include <filesystem>

#include "config/config.h"
#include "store/retention.h"

namespace jreg::train {

/// What a run will still write.
struct SpaceNeed {
  std::int64_t parameters = 0;
  std::int64_t layers = 0;
  std::int64_t step = 0;      // where it begins
  std::int64_t updates = 0;   // still to come
  std::int64_t interval = 0;  // checkpoint.interval
  store::Retention retention;
  std::int64_t existing = 0;  // complete checkpoints that are there
};

/// Of a run of this config that goes on from `step` and ends at `last`, in the run folder as it is.
SpaceNeed need_of(config::Config const& config, std::int64_t parameters, std::int64_t step, std::int64_t last);

/// Bytes of one checkpoint: weights and two moments in fp32, and the history of `updates` updates.
std::int64_t checkpoint_bytes(SpaceNeed const& need);
/// The same of weights only.
std::int64_t weights_only_bytes(SpaceNeed const& need);
/// Whole checkpoints that there will be beside the existing ones at the worst moment, a new one before the oldest
/// goes, and those that stay for ever. Where all are kept, only the next one is counted: a run may be followed by
/// somebody who takes them away.
std::int64_t further_checkpoints(SpaceNeed const& need);
/// Log-spaced steps still to come at which no whole checkpoint is due.
std::int64_t further_weights_only(SpaceNeed const& need);
/// Of all those checkpoints and of dynamics.h5.
std::int64_t needed_bytes(SpaceNeed const& need);

/// Throws an Error with exit code 74 and the estimate where the file system of `folder` has too little space free.
void check_space(std::filesystem::path const& folder, SpaceNeed const& need);

}  // namespace jreg::train
