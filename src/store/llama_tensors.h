#pragma once

#include <functional>
#include <string>

#include "config/config.h"
#include "store/manifest.h"

namespace jreg::store {

/// Calls visit(name, shape) for each weight that files of such a model hold, in the model's order, without the output
/// head where it is tied to the embedding. Sizes of the model must be resolved. Stops where `visit` throws.
void for_each_tensor(config::ModelConfig const& model,
                     std::function<void(std::string const& name, Shape const& shape)> const& visit);

/// The name of the output head.
inline constexpr char const* head_name = "lm_head.weight";
inline constexpr char const* embedding_name = "model.embed_tokens.weight";

}  // namespace jreg::store
