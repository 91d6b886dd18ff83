#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "config/config.h"
#include "store/tensor_source.h"

namespace jreg::store {

struct WrittenWeights {
  std::int64_t parameters = 0;
  std::int64_t tensors = 0;
  std::int64_t files = 0;
  std::int64_t bytes = 0;    // of all files
  DType dtype = DType::f32;  // of the embedding
};

/// Writes the weights of `model` into an existing folder as transformers reads them: model.safetensors, or shards of at
/// most `shard_bytes` (a larger tensor has one of its own) with model.safetensors.index.json. `dtype`: f32, bf16 (from
/// f32 rounded to nearest even), or none for that of each tensor. Tensors pass through in pieces of a few MiB, before
/// each of which `pause` is called. Files are on the disk on return. Throws DataError naming a tensor that is missing
/// or of another shape, SystemError.
WrittenWeights write_huggingface_weights(TensorSource& source, config::ModelConfig const& model,
                                         std::optional<DType> dtype, std::int64_t shard_bytes,
                                         std::filesystem::path const& folder, std::function<void()> const& pause);

}  // namespace jreg::store
