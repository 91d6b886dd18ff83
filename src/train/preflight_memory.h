#pragma once

#include <cstdint>

#include "config/config.h"
#include "mesh/mesh.h"

namespace jreg::train::preflight {

/// Bytes that a rank at `at` will take for weights, gradients, moments, activations and the copy for checkpoints: an
/// estimate, without building anything.
std::int64_t memory_estimate(config::Config const& config, mesh::Coordinates const& at);

/// Largest file that a rank writes, in bytes: its share of weights and moments.
std::int64_t checkpoint_file_bytes(config::Config const& config, mesh::Coordinates const& at);

}  // namespace jreg::train::preflight
