#include "store/huggingface_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "config/validate.h"
#include "store/files.h"
#include "store/json_node.h"

namespace jreg::store {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::int64_t largest_file = std::int64_t{16} << 20;
constexpr std::int64_t largest_size = (std::int64_t{1} << 31) - 1;

void expect_text(JsonNode const& config, std::string const& key, std::string const& expected) {
  JsonNode const node = config.at(key);
  if (node.text() != expected) {
    node.refuse(fmt::format("is {}; only {} is known here", node.shown(), in_quotes(expected)));
  }
}

/// Keys that turn a Llama into something else. A key that is not there, or null, has its harmless value.
void check_mathematics(JsonNode const& config) {
  expect_text(config, "model_type", "llama");
  if (config.has_value("architectures")) {
    for (JsonNode const& name : config.at("architectures").items()) {
      if (name.text() != "LlamaForCausalLM") {
        name.refuse(fmt::format("is {}; only \"LlamaForCausalLM\" is known here", name.shown()));
      }
    }
  }
  if (config.has_value("hidden_act")) expect_text(config, "hidden_act", "silu");
  for (char const* const key : {"attention_bias", "mlp_bias"}) {
    if (config.has_value(key) && config.at(key).boolean()) config.at(key).refuse("is true: biases are not supported");
  }
  for (char const* const key : {"sliding_window", "quantization_config"}) {
    if (config.has_value(key)) config.at(key).refuse(fmt::format("is {}: not supported", config.at(key).shown()));
  }
  if (config.has_value("layer_types")) {
    for (JsonNode const& type : config.at("layer_types").items()) {
      if (type.text() != "full_attention") type.refuse(fmt::format("is {}: not supported", type.shown()));
    }
  }
  // pretraining_tp is allowed: it cuts matrix products into pieces, but for rounding the result is the same.
}

std::int64_t size_at(JsonNode const& config, char const* key) {
  return config.at(key).integer(1, largest_size);
}

double positive(JsonNode const& node) {
  double const value = node.number();
  if (!(value > 0) || !std::isfinite(value)) node.refuse(fmt::format("is {}, not a number above 0", node.shown()));
  return value;
}

void check_divides(JsonNode const& config, char const* whole, std::int64_t value, char const* part, std::int64_t by) {
  if (value % by != 0) config.at(whole).refuse(fmt::format("= {} is not a multiple of {} = {}", value, part, by));
}

void check_whole_rotation(JsonNode const& node) {
  constexpr char const* key = "partial_rotary_factor";
  if (node.has_value(key) && node.at(key).number() != 1) {
    node.at(key).refuse(fmt::format("is {}: not supported", node.at(key).shown()));
  }
}

/// What a rope_scaling or rope_parameters object tells of the scaling.
config::RopeScalingConfig parse_scaling(JsonNode const& node) {
  config::RopeScalingConfig scaling;
  check_whole_rotation(node);
  std::string type = "default";
  bool told = false;
  for (char const* const key : {"type", "rope_type"}) {
    if (!node.has_value(key)) continue;
    std::string const found = node.at(key).text();
    if (found != "default" && found != "llama3") {
      node.at(key).refuse(fmt::format("is {}; only default and llama3 are supported", node.at(key).shown()));
    }
    if (told && found != type) node.at(key).refuse(fmt::format("is {}, type is {}", in_quotes(found), in_quotes(type)));
    type = found;
    told = true;
  }
  if (!told && node.has_value("factor")) node.refuse("has a factor, but neither rope_type nor type");
  if (type == "default") return scaling;
  scaling.type = "llama3";
  scaling.factor = positive(node.at("factor"));
  if (scaling.factor < 1) node.at("factor").refuse("is below 1");
  scaling.low_freq_factor = positive(node.at("low_freq_factor"));
  scaling.high_freq_factor = positive(node.at("high_freq_factor"));
  scaling.original_max_position_embeddings = size_at(node, "original_max_position_embeddings");
  if (!(scaling.high_freq_factor > scaling.low_freq_factor)) {
    node.at("high_freq_factor").refuse("is not greater than low_freq_factor");
  }
  return scaling;
}

bool same(config::RopeScalingConfig const& a, config::RopeScalingConfig const& b) {
  if (a.type != b.type) return false;
  return a.type == "none" ||
         (a.factor == b.factor && a.low_freq_factor == b.low_freq_factor && a.high_freq_factor == b.high_freq_factor &&
          a.original_max_position_embeddings == b.original_max_position_embeddings);
}

/// theta and scaling stand in the old keys, in the new one, or in both.
void parse_rope(JsonNode const& config, config::ModelConfig& model) {
  bool const modern = config.has_value("rope_parameters");
  check_whole_rotation(config);
  model.rope_theta = 10000;
  std::optional<double> theta;
  if (config.has_value("rope_theta")) theta = positive(config.at("rope_theta"));
  if (modern && config.at("rope_parameters").has_value("rope_theta")) {
    JsonNode const node = config.at("rope_parameters").at("rope_theta");
    double const found = positive(node);
    if (theta && *theta != found) node.refuse(fmt::format("is {}, rope_theta is {}", found, *theta));
    theta = found;
  }
  if (theta) model.rope_theta = *theta;
  std::optional<config::RopeScalingConfig> scaling;
  for (char const* const key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has_value(key)) continue;
    config.at(key).members();  // refuses what is no object
    config::RopeScalingConfig const found = parse_scaling(config.at(key));
    if (scaling && !same(*scaling, found)) config.at(key).refuse("contradicts rope_scaling");
    scaling = found;
  }
  // Writers of the new key leave the old one null where nothing is scaled; a scaling that only the old key has counts.
  if (scaling) model.rope_scaling = *scaling;
}

}  // namespace

config::Config parse_huggingface_config(std::string_view text, std::string const& file) {
  json const parsed = parse_json(text, file);
  JsonNode const node{parsed, file, ""};
  check_mathematics(node);
  config::Config config;
  config::ModelConfig& model = config.model;
  model.layers = size_at(node, "num_hidden_layers");
  model.hidden = size_at(node, "hidden_size");
  model.heads = size_at(node, "num_attention_heads");
  model.kv_heads = node.has_value("num_key_value_heads") ? size_at(node, "num_key_value_heads") : model.heads;
  model.ffn = size_at(node, "intermediate_size");
  model.vocab = node.at("vocab_size").integer(2, largest_size);
  if (node.has_value("head_dim")) {
    model.head_size = size_at(node, "head_dim");
  } else {
    check_divides(node, "hidden_size", model.hidden, "num_attention_heads", model.heads);
    model.head_size = model.hidden / model.heads;
  }
  check_divides(node, "num_attention_heads", model.heads, "num_key_value_heads", model.kv_heads);
  if (model.head_size % 2 != 0) {
    throw DataError("{}: {} = {} is odd; rotary positions need pairs", file,
                    node.has_value("head_dim") ? "head_dim" : "hidden_size / num_attention_heads", model.head_size);
  }
  model.norm_eps = node.has_value("rms_norm_eps") ? positive(node.at("rms_norm_eps")) : 1e-6;
  model.tie_embeddings = node.has_value("tie_word_embeddings") && node.at("tie_word_embeddings").boolean();
  if (node.has_value("initializer_range")) model.init_std = positive(node.at("initializer_range"));
  parse_rope(node, model);
  config.train.sequence_length =
      node.has_value("max_position_embeddings") ? size_at(node, "max_position_embeddings") : 2048;  // transformers' own
  try {
    config::resolve(config);
    config::validate_model(model);
  } catch (UserError const& error) {
    throw DataError("{}: {}", file, error.what());
  }
  return config;
}

config::Config read_huggingface_config(std::filesystem::path const& file) {
  return parse_huggingface_config(read_text(file, largest_file), file.string());
}

namespace {

ordered_json scaling_json(config::RopeScalingConfig const& scaling) {
  return {{"rope_type", "llama3"},
          {"factor", scaling.factor},
          {"low_freq_factor", scaling.low_freq_factor},
          {"high_freq_factor", scaling.high_freq_factor},
          {"original_max_position_embeddings", scaling.original_max_position_embeddings}};
}

ordered_json id_json(std::optional<std::int64_t> id) {
  return id ? ordered_json(*id) : ordered_json();
}

}  // namespace

std::string huggingface_config(config::ModelConfig const& model, HuggingFaceExtras const& extras) {
  bool const scaled = model.rope_scaling.type == "llama3";
  ordered_json rope = scaled ? scaling_json(model.rope_scaling) : ordered_json{{"rope_type", "default"}};
  rope["rope_theta"] = model.rope_theta;
  ordered_json const config{{"architectures", {"LlamaForCausalLM"}},
                            {"model_type", "llama"},
                            {"vocab_size", model.vocab},
                            {"hidden_size", model.hidden},
                            {"intermediate_size", model.ffn},
                            {"num_hidden_layers", model.layers},
                            {"num_attention_heads", model.heads},
                            {"num_key_value_heads", model.kv_heads},
                            {"head_dim", model.head_size},
                            {"hidden_act", "silu"},
                            {"rms_norm_eps", model.norm_eps},
                            {"max_position_embeddings", extras.context},
                            {"initializer_range", model.init_std},
                            {"tie_word_embeddings", model.tie_embeddings},
                            {"attention_bias", false},
                            {"attention_dropout", 0.0},
                            {"mlp_bias", false},
                            {"rope_theta", model.rope_theta},
                            {"rope_scaling", scaled ? scaling_json(model.rope_scaling) : ordered_json()},
                            {"rope_parameters", rope},
                            {"torch_dtype", extras.dtype},
                            {"dtype", extras.dtype},
                            {"bos_token_id", id_json(extras.bos)},
                            {"eos_token_id", id_json(extras.eos)},
                            {"pad_token_id", nullptr},
                            {"use_cache", true}};
  return config.dump(2) + "\n";
}

std::string generation_config(HuggingFaceExtras const& extras) {
  ordered_json const config{
      {"_from_model_config", true}, {"bos_token_id", id_json(extras.bos)}, {"eos_token_id", id_json(extras.eos)}};
  return config.dump(2) + "\n";
}

}  // namespace jreg::store
