#include "store/huggingface_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parse.h"
#include "store/huggingface_files.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using nlohmann::json;
using test::refusal_of;
using testing::HasSubstr;

json const llama3{{"rope_type", "llama3"},
                  {"factor", 8.0},
                  {"low_freq_factor", 1.0},
                  {"high_freq_factor", 4.0},
                  {"original_max_position_embeddings", 16}};

config::Config parse(json const& changes) {
  json config = test::tiny_huggingface_config();
  config.update(changes);
  return parse_huggingface_config(config.dump(), "config.json");
}

std::string refused(json const& changes) {
  return refusal_of([&] { parse(changes); });
}

std::string refused_without(char const* key) {
  json config = test::tiny_huggingface_config();
  config.erase(key);
  return refusal_of([&] { parse_huggingface_config(config.dump(), "config.json"); });
}

TEST(HuggingFaceConfig, GivesTheArchitecture) {
  config::Config const config = parse({{"tie_word_embeddings", true}, {"initializer_range", 0.5}});
  config::ModelConfig const& model = config.model;
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.hidden, 4);
  EXPECT_EQ(model.heads, 2);
  EXPECT_EQ(model.kv_heads, 1);
  EXPECT_EQ(model.head_size, 2);
  EXPECT_EQ(model.ffn, 6);
  EXPECT_EQ(model.vocab, 5);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.rope_theta, 10000);
  EXPECT_EQ(model.rope_scaling.type, "none");
  EXPECT_EQ(model.init_std, 0.5);
  EXPECT_TRUE(model.tie_embeddings);
  EXPECT_EQ(config.train.sequence_length, 32);
}

TEST(HuggingFaceConfig, TakesNullForADefault) {
  json const nothing{{"num_key_value_heads", nullptr}, {"head_dim", nullptr},
                     {"rope_scaling", nullptr},        {"rms_norm_eps", nullptr},
                     {"sliding_window", nullptr},      {"architectures", nullptr},
                     {"attention_bias", nullptr},      {"rope_parameters", nullptr},
                     {"quantization_config", nullptr}, {"max_position_embeddings", nullptr}};
  config::Config const config = parse(nothing);
  EXPECT_EQ(config.model.kv_heads, 2);
  EXPECT_EQ(config.model.norm_eps, 1e-6);  // that of transformers, and so is
  EXPECT_EQ(config.train.sequence_length, 2048);
}

TEST(HuggingFaceConfig, TakesAHeadSizeOfItsOwn) {
  EXPECT_EQ(parse({{"head_dim", 8}}).model.head_size, 8);
  EXPECT_EQ(parse({{"head_dim", 8}, {"num_attention_heads", 3}}).model.heads, 3);
}

TEST(HuggingFaceConfig, ReadsPositionsOfOldAndNewKeys) {
  EXPECT_EQ(parse({{"rope_theta", 5000}}).model.rope_theta, 5000);
  EXPECT_EQ(parse({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5000.5}}}}).model.rope_theta, 5000.5);
  json old_type = llama3;
  old_type.erase("rope_type");
  old_type["type"] = "llama3";
  json modern = llama3;
  modern["rope_theta"] = 5000;
  for (json const& changes :
       {json{{"rope_scaling", llama3}}, json{{"rope_scaling", old_type}}, json{{"rope_parameters", modern}},
        json{{"rope_scaling", llama3}, {"rope_theta", 5000}, {"rope_parameters", modern}}}) {
    config::RopeScalingConfig const scaling = parse(changes).model.rope_scaling;
    EXPECT_EQ(scaling.type, "llama3");
    EXPECT_EQ(scaling.factor, 8);
    EXPECT_EQ(scaling.low_freq_factor, 1);
    EXPECT_EQ(scaling.high_freq_factor, 4);
    EXPECT_EQ(scaling.original_max_position_embeddings, 16);
  }
}

TEST(HuggingFaceConfig, RefusesPositionsThatContradictEachOther) {
  EXPECT_THAT(refused({{"rope_theta", 5000}, {"rope_parameters", {{"rope_theta", 6000}}}}),
              HasSubstr("rope_parameters.rope_theta is 6000, rope_theta is 5000"));
  json other = llama3;
  other["factor"] = 4;
  EXPECT_THAT(refused({{"rope_scaling", llama3}, {"rope_parameters", other}}),
              HasSubstr("rope_parameters contradicts rope_scaling"));
  json both = llama3;
  both["type"] = "default";
  EXPECT_THAT(refused({{"rope_scaling", both}}),
              HasSubstr("rope_scaling.rope_type is \"llama3\", type is \"default\""));
}

TEST(HuggingFaceConfig, RefusesWhatIsNoLlama) {
  EXPECT_THAT(refused({{"model_type", "mistral"}}), HasSubstr("config.json: model_type is \"mistral\""));
  EXPECT_THAT(refused_without("model_type"), HasSubstr("has no model_type"));
  EXPECT_THAT(refused({{"architectures", {"LlamaForSequenceClassification"}}}), HasSubstr("architectures[0] is"));
  EXPECT_THAT(refused({{"hidden_act", "gelu"}}), HasSubstr("hidden_act is \"gelu\""));
  EXPECT_THAT(refused({{"attention_bias", true}}), HasSubstr("attention_bias is true"));
  EXPECT_THAT(refused({{"mlp_bias", true}}), HasSubstr("mlp_bias is true"));
  EXPECT_THAT(refused({{"sliding_window", 4096}}), HasSubstr("sliding_window is 4096"));
  EXPECT_THAT(refused({{"quantization_config", {{"bits", 4}}}}), HasSubstr("quantization_config is"));
  EXPECT_THAT(refused({{"layer_types", {"full_attention", "sliding_attention"}}}), HasSubstr("layer_types[1] is"));
  EXPECT_THAT(refused({{"partial_rotary_factor", 0.5}}), HasSubstr("partial_rotary_factor is 0.5"));
  EXPECT_THAT(refused({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}),
              HasSubstr("rope_parameters.partial_rotary_factor is 0.5"));
}

TEST(HuggingFaceConfig, AcceptsKeysThatChangeNothing) {
  EXPECT_EQ(refused({{"pretraining_tp", 2}, {"torch_dtype", "float16"}, {"dtype", "float16"}, {"use_cache", false}}),
            "");
  EXPECT_EQ(refused({{"attention_bias", false}, {"partial_rotary_factor", 1.0}}), "");
}

TEST(HuggingFaceConfig, RefusesOtherScalingsOfPositions) {
  for (char const* const type : {"linear", "dynamic", "yarn", "longrope"}) {
    EXPECT_THAT(refused({{"rope_scaling", {{"type", type}, {"factor", 2.0}}}}), HasSubstr("rope_scaling.type is"));
    EXPECT_THAT(refused({{"rope_parameters", {{"rope_type", type}, {"factor", 2.0}}}}),
                HasSubstr("rope_parameters.rope_type is"));
  }
  EXPECT_THAT(refused({{"rope_scaling", {{"factor", 2.0}}}}), HasSubstr("has a factor, but neither"));
  EXPECT_THAT(refused({{"rope_scaling", "linear"}}), HasSubstr("rope_scaling is no object"));
  for (auto const& [key, value] : llama3.items()) {
    json scaling = llama3;
    scaling.erase(key);
    EXPECT_NE(refused({{"rope_scaling", scaling}}), "") << "without " << key;
  }
  json scaling = llama3;
  scaling["high_freq_factor"] = 1.0;
  EXPECT_THAT(refused({{"rope_scaling", scaling}}), HasSubstr("high_freq_factor is not greater"));
  scaling["factor"] = 0.5;
  EXPECT_THAT(refused({{"rope_scaling", scaling}}), HasSubstr("factor is below 1"));
}

TEST(HuggingFaceConfig, RefusesSizesThatDoNotDivide) {
  EXPECT_THAT(refused({{"hidden_size", 5}}), HasSubstr("hidden_size = 5 is not a multiple of num_attention_heads = 2"));
  EXPECT_THAT(refused({{"num_attention_heads", 4}, {"num_key_value_heads", 3}}),
              HasSubstr("num_attention_heads = 4 is not a multiple of num_key_value_heads = 3"));
  EXPECT_THAT(refused({{"hidden_size", 6}}), HasSubstr("hidden_size / num_attention_heads = 3 is odd"));
  EXPECT_THAT(refused({{"head_dim", 7}}), HasSubstr("head_dim = 7 is odd"));
}

TEST(HuggingFaceConfig, RefusesValuesOutOfRange) {
  for (char const* const key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                                "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (json const& value : {json(0), json(-1), json(2.5), json("8"), json(true), json(std::uint64_t{1} << 63)}) {
      EXPECT_THAT(refused({{key, value}}), HasSubstr(std::string{key} + " is not an integer")) << value;
    }
  }
  for (char const* const key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    EXPECT_THAT(refused_without(key), HasSubstr(std::string{"has no "} + key));
  }
  for (char const* const key : {"rope_theta", "rms_norm_eps", "initializer_range"}) {
    EXPECT_THAT(refused({{key, 0}}), HasSubstr(std::string{key} + " is 0, not a number above 0"));
    EXPECT_THAT(refused({{key, -1.5}}), HasSubstr(std::string{key} + " is -1.5"));
    EXPECT_THAT(refused({{key, "1"}}), HasSubstr(std::string{key} + " is no number"));
  }
  EXPECT_THAT(refused({{"tie_word_embeddings", 1}}), HasSubstr("is neither true nor false"));
}

TEST(HuggingFaceConfig, RefusesTextThatIsNoJson) {
  auto const text_refused = [](std::string const& text) {
    return refusal_of([&] { parse_huggingface_config(text, "config.json"); });
  };
  EXPECT_THAT(text_refused(""), HasSubstr("config.json: is no JSON"));
  EXPECT_THAT(text_refused(R"({"model_type": "llama", "rope_theta": NaN})"), HasSubstr("is no JSON"));
  EXPECT_THAT(text_refused(R"({"model_type": "llama", "rope_theta": 1e999})"), HasSubstr("a number is too large"));
  EXPECT_THAT(text_refused(R"({"model_type": "llama", "model_type": "llama"})"), HasSubstr("stands twice"));
  EXPECT_THAT(text_refused("[1]"), HasSubstr("is no object"));
}

TEST(HuggingFaceConfig, RefusesFilesOverSixteenMebibytes) {
  test::TemporaryFolder const folder;
  auto const path = folder.path() / "config.json";
  test::write_file(path, test::tiny_huggingface_config().dump() + std::string(std::size_t{16} << 20, ' '));
  EXPECT_THAT(refusal_of([&] { read_huggingface_config(path); }), HasSubstr("is longer than 16777216 bytes"));
}

TEST(HuggingFaceConfig, ReadsWhatItWrote) {
  for (bool const scaled : {false, true}) {
    config::Config config = parse({{"head_dim", 6}, {"tie_word_embeddings", scaled}, {"rope_theta", 1234.5}});
    if (scaled) config.model.rope_scaling = parse({{"rope_scaling", llama3}}).model.rope_scaling;
    std::string const text =
        huggingface_config(config.model, {.context = 77, .dtype = "bfloat16", .bos = std::nullopt, .eos = 3});
    config::Config const back = parse_huggingface_config(text, "config.json");
    EXPECT_EQ(back.train.sequence_length, 77);
    config::ModelConfig was = config.model;
    config::ModelConfig is = back.model;
    EXPECT_EQ(config::ini_text(config::options_of(is)), config::ini_text(config::options_of(was)));
    json const written = json::parse(text);
    EXPECT_EQ(written["torch_dtype"], "bfloat16");
    EXPECT_EQ(written["dtype"], "bfloat16");
    EXPECT_EQ(written["rope_theta"], 1234.5);
    EXPECT_EQ(written["rope_parameters"]["rope_theta"], 1234.5);
    EXPECT_EQ(written["rope_scaling"].is_null(), !scaled);
    EXPECT_EQ(written["eos_token_id"], 3);
    EXPECT_TRUE(written["bos_token_id"].is_null());
  }
}

}  // namespace
}  // namespace jreg::store
