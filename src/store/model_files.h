#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "config/config.h"
#include "store/tensor_source.h"

namespace jreg::store {

/// A model in files: what it is, and where its weights are read.
struct ModelFiles {
  // Of the run that wrote it; `model` is resolved (sizes given, none left to defaults). Of weights in Hugging Face's
  // format: defaults beside `model`, but train.sequence_length is their max_position_embeddings, which may be very
  // long.
  config::Config config;
  std::int64_t step = -1;       // updates done; -1 where the files do not tell
  std::int64_t tokens = -1;     // tokens trained on; the same
  std::int64_t data_ranks = 1;  // that the run had
  std::unique_ptr<TensorSource> tensors;
};

/// Opens a checkpoint folder, or a run folder, of which it takes the newest complete checkpoint, of weights only too,
/// or a folder with a Llama in Hugging Face's format. Not collective. Throws UserError for a path that is none of
/// these, DataError for damaged files and for models that are no Llama.
ModelFiles open_model(std::filesystem::path const& path);

/// The options that a checkpoint holds; those it does not know have their defaults. Throws DataError naming `file` for
/// a value that its option refuses.
config::Config config_of(KeyValues const& stored, std::filesystem::path const& file);

}  // namespace jreg::store
