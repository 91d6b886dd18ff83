#pragma once

#include <filesystem>

#include "train/session.h"

namespace jreg::train {

/// Loads this rank's slices of the weights that `model` holds (what store::open_model takes), for a run that begins
/// with them; the moments stay 0. Not collective. Throws UserError listing the keys in which the session's architecture
/// differs from the model's, and as open_model does.
void load_initial_weights(TrainingSession& session, std::filesystem::path const& model);

}  // namespace jreg::train
