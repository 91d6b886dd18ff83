#pragma once

#include <filesystem>

#include "config/config.h"
#include "train/session.h"

namespace jreg::train {

/// Throws UserError listing the keys in which the architecture differs from that of the model that `model` holds (what
/// store::open_model takes), and as open_model does.
void check_initial_model(config::ModelConfig const& config, std::filesystem::path const& model);

/// Loads this rank's slices of the weights of such a model, for a run that begins with them; the moments stay 0. Not
/// collective. Throws as check_initial_model does.
void load_initial_weights(TrainingSession& session, std::filesystem::path const& model);

}  // namespace jreg::train
