#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "config/config.h"

// config.json, which tells transformers and its relatives what a model is.
namespace jreg::store {

/// Parses a LlamaForCausalLM's config.json, of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters). The
/// result's `model` is resolved, its train.sequence_length is max_position_embeddings (2048 without, as in
/// transformers); other keys have their defaults. Throws DataError "<file>: <key> ..." for anything that is no Llama as
/// this program computes it, for values out of range and for keys that contradict each other.
config::Config parse_huggingface_config(std::string_view text, std::string const& file);
/// The same of a file, of at most 16 MiB.
config::Config read_huggingface_config(std::filesystem::path const& file);

/// What config.json tells beside the architecture.
struct HuggingFaceExtras {
  std::int64_t context = 0;  // max_position_embeddings
  std::string dtype;         // "float32" or "bfloat16"
  std::optional<std::int64_t> bos;
  std::optional<std::int64_t> eos;
};

/// Text of a config.json with the keys of both generations of readers: each takes its default, silently, where it does
/// not find the key that it knows.
std::string huggingface_config(config::ModelConfig const& model, HuggingFaceExtras const& extras);

/// Text of generation_config.json.
std::string generation_config(HuggingFaceExtras const& extras);

}  // namespace jreg::store
