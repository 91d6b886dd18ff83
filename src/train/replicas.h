#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/session.h"

namespace jreg::train {

/// Hash of this rank's weights as the step reads them.
std::int64_t weights_hash(TrainingSession& session);

/// Ranks whose hash is not that of most data ranks with the same slices. `hashes` by rank. Where no value has a
/// majority (two ranks that differ), all that hold these slices are returned.
std::vector<int> drifted_ranks(std::span<std::int64_t const> hashes, int tensor_size);

/// Collective: compares the weights of all data ranks, which are copies of one another. Where they differ, all ranks
/// throw an AgreedError (exit code 70) naming ranks and hosts. `hosts` by rank.
void check_replicas(TrainingSession& session, std::span<std::string const> hosts, std::int64_t step);

}  // namespace jreg::train
