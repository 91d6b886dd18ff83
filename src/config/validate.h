#pragma once

#include "config/config.h"

namespace jreg::config {

/// Fills in what follows from other keys: precision, kv_heads, head_size.
void resolve(Config& config);

/// Checks the rules across keys for a model. Throws UserError naming the keys. Call after resolve.
void validate_model(ModelConfig const& model);

/// Checks every rule across keys for a training run on `world` ranks: divisibility, batches, schedule, penalty.
/// Throws UserError naming the keys. Call after resolve.
void validate(Config const& config, std::int64_t world);

}  // namespace jreg::config
