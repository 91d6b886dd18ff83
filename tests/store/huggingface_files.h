#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

// Folders of Hugging Face's built by hand.
namespace jreg::test {

inline void write_file(std::filesystem::path const& path, std::string_view content) {
  std::ofstream{path, std::ios::binary}.write(content.data(), static_cast<std::streamsize>(content.size()));
}

/// 8 bytes with the header's length, the header, the data.
inline std::string safetensors(std::string const& header, std::string const& data) {
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFFU);
  return length + header + data;
}

/// The text of the DataError that `action` throws; "" where it throws none.
template <class Action> std::string refusal_of(Action&& action) {
  try {
    action();
  } catch (DataError const& error) {
    return error.what();
  }
  return "";
}

/// config.json of a model with 2 layers, hidden 4, 2 heads, ffn 6, vocabulary 5.
inline nlohmann::json tiny_huggingface_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 4},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"intermediate_size", 6},
          {"vocab_size", 5},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 32}};
}

}  // namespace jreg::test
