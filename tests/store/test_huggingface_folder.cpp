#include "store/huggingface_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "base/bfloat16.h"
#include "store/huggingface_config.h"
#include "store/huggingface_files.h"
#include "store/llama_tensors.h"
#include "store/model_files.h"
#include "support/temporary_folder.h"

namespace jreg::store {
namespace {

using nlohmann::json;
using test::refusal_of;
using testing::HasSubstr;

/// Small whole numbers, which every type holds exactly.
float value_at(std::string const& name, std::int64_t index) {
  return static_cast<float>((static_cast<std::int64_t>(name.size()) * 7 + index * 3) % 200 - 100);
}

/// A tensor as it will stand in a file.
struct Written {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

std::string half_of(float value) {
  // Exact for whole numbers below 2048.
  std::uint16_t bits = std::signbit(value) ? 0x8000U : 0U;
  if (value != 0) {
    int exponent = 0;
    float const fraction = std::frexp(std::fabs(value), &exponent);  // in [0.5, 1)
    bits |= static_cast<std::uint16_t>((exponent + 14) << 10);
    bits |= static_cast<std::uint16_t>(static_cast<int>(fraction * 2048) & 0x3FF);
  }
  return {reinterpret_cast<char const*>(&bits), sizeof bits};
}

std::string element(std::string const& dtype, float value) {
  if (dtype == "F16") return half_of(value);
  if (dtype == "BF16") {
    bfloat16 const rounded = to_bfloat16(value);
    return {reinterpret_cast<char const*>(&rounded), sizeof rounded};
  }
  return {reinterpret_cast<char const*>(&value), sizeof value};
}

Written make(std::string const& name, std::string const& dtype, std::vector<std::int64_t> const& shape) {
  Written tensor{dtype, shape, {}};
  std::int64_t count = 1;
  for (std::int64_t const extent : shape) count *= extent;
  for (std::int64_t i = 0; i < count; ++i) tensor.bytes += element(dtype, value_at(name, i));
  return tensor;
}

/// A folder whose parts tests change before it is written.
struct Folder {
  explicit Folder(std::string const& dtype = "F32") {
    config::ModelConfig const model = parse_huggingface_config(config.dump(), "config.json").model;
    for_each_tensor(model, [&](std::string const& name, Shape const& shape) {
      tensors[name] =
          make(name, dtype, shape.vector ? std::vector{shape.rows} : std::vector{shape.rows, shape.columns});
    });
  }

  std::string file_of(std::vector<std::string> const& names) const {
    json header = json::object();
    std::string data;
    for (std::string const& name : names) {
      Written const& tensor = tensors.at(name);
      std::size_t const begin = data.size();
      data += tensor.bytes;
      header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
    }
    return test::safetensors(header.dump(), data);
  }

  void write_config() const { test::write_file(folder / "config.json", config.dump()); }

  void write() const {
    write_config();
    std::vector<std::string> names;
    for (auto const& [name, tensor] : tensors) names.push_back(name);
    test::write_file(folder / "model.safetensors", file_of(names));
  }

  /// In two files; `index` may be changed before.
  void write_sharded(json const& changes = json::object()) const {
    write_config();
    std::vector<std::string> first;
    std::vector<std::string> second;
    json map = json::object();
    for (auto const& [name, tensor] : tensors) {
      bool const odd = map.size() % 2 == 1;
      (odd ? second : first).push_back(name);
      map[name] = odd ? "two.safetensors" : "one.safetensors";
    }
    map.update(changes);
    test::write_file(folder / "one.safetensors", file_of(first));
    test::write_file(folder / "two.safetensors", file_of(second));
    test::write_file(folder / "model.safetensors.index.json", json{{"metadata", {}}, {"weight_map", map}}.dump());
  }

  std::string refused() const {
    return refusal_of([&] { HuggingFaceFolder{folder.path()}; });
  }

  test::TemporaryFolder folder;
  json config = test::tiny_huggingface_config();
  std::map<std::string, Written> tensors;
};

std::vector<float> read(TensorSource& source, std::string const& name, Rectangle const& part) {
  std::vector<float> values(static_cast<std::size_t>(part.rows() * part.columns()));
  source.read_slice(TensorKind::weight, name, part, DType::f32, values.data());
  return values;
}

void expect_values(HuggingFaceFolder& folder) {
  for (auto const& [name, tensor] : folder.tensors()) {
    Shape const& shape = tensor.entry.shape;
    for (Rectangle const& part :
         {Rectangle::whole(shape), Rectangle{1, shape.rows - 1, 0, shape.columns},
          Rectangle{0, shape.rows, shape.columns / 2, shape.columns}, Rectangle{1, 2, 0, (shape.columns + 1) / 2}}) {
      std::vector<float> const values = read(folder, name, part);
      for (std::int64_t i = 0; i < std::ssize(values); ++i) {
        std::int64_t const row = part.row_begin + i / part.columns();
        std::int64_t const column = part.column_begin + i % part.columns();
        ASSERT_EQ(values[static_cast<std::size_t>(i)], value_at(name, row * shape.columns + column)) << name;
      }
    }
  }
}

class EveryType : public testing::TestWithParam<char const*> {};

TEST_P(EveryType, IsReadByRectangles) {
  Folder const files{GetParam()};
  files.write();
  HuggingFaceFolder folder{files.folder.path()};
  EXPECT_EQ(folder.tensors().size(), 21U);
  expect_values(folder);
}

TEST_P(EveryType, IsReadFromShards) {
  Folder const files{GetParam()};
  files.write_sharded();
  HuggingFaceFolder folder{files.folder.path()};
  expect_values(folder);
  EXPECT_NE(folder.path_of(folder.tensors().at("model.norm.weight")),
            folder.path_of(folder.tensors().at("model.layers.1.self_attn.v_proj.weight")));
}

TEST_P(EveryType, IsReadAsBfloat16) {
  Folder const files{GetParam()};
  files.write();
  HuggingFaceFolder folder{files.folder.path()};
  std::vector<bfloat16> values(20);
  folder.read_slice(TensorKind::weight, embedding_name, {0, 5, 0, 4}, DType::bf16, values.data());
  for (std::int64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(to_float(values[static_cast<std::size_t>(i)]), value_at(embedding_name, i));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType, testing::Values("F32", "F16", "BF16"));

TEST(Half, IsConvertedExactly) {
  EXPECT_EQ(half_to_float(0x3C00), 1.0F);
  EXPECT_EQ(half_to_float(0xC000), -2.0F);
  EXPECT_EQ(half_to_float(0x7BFF), 65504.0F);
  EXPECT_EQ(half_to_float(0x0400), std::ldexp(1.0F, -14));
  EXPECT_EQ(half_to_float(0x0001), std::ldexp(1.0F, -24));
  EXPECT_EQ(half_to_float(0x83FF), -std::ldexp(1023.0F, -24));
  EXPECT_EQ(half_to_float(0x3555), 0.333251953125F);
  EXPECT_EQ(half_to_float(0x7C00), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(half_to_float(0x8000)));
  EXPECT_TRUE(std::isnan(half_to_float(0x7C01)));
}

TEST(HuggingFaceFolder, OpensAsAModel) {
  Folder const files;
  files.write();
  ModelFiles const model = open_model(files.folder.path());
  EXPECT_EQ(model.step, -1);
  EXPECT_EQ(model.tokens, -1);
  EXPECT_EQ(model.config.model.hidden, 4);
  EXPECT_EQ(model.tensors->folder(), files.folder.path());
  EXPECT_NE(model.tensors->find(TensorKind::weight, head_name), nullptr);
  EXPECT_EQ(model.tensors->find(TensorKind::moment1, head_name), nullptr);
}

TEST(HuggingFaceFolder, RefusesPartsThatAreNotThere) {
  Folder const files;
  files.write();
  HuggingFaceFolder folder{files.folder.path()};
  EXPECT_THAT(refusal_of([&] { read(folder, "nothing", {0, 1, 0, 1}); }), HasSubstr("has no weights/nothing"));
  EXPECT_THAT(refusal_of([&] { read(folder, embedding_name, {0, 6, 0, 4}); }), HasSubstr("are not all there"));
  EXPECT_THAT(refusal_of([&] { read(folder, embedding_name, {0, 5, 1, 5}); }), HasSubstr("are not all there"));
}

TEST(HuggingFaceFolder, TellsOfAFileThatWasCutOffSince) {
  Folder const files;
  files.write();
  HuggingFaceFolder folder{files.folder.path()};
  std::filesystem::resize_file(files.folder / "model.safetensors", 100);
  EXPECT_THAT(refusal_of([&] { read(folder, embedding_name, {0, 5, 0, 4}); }), HasSubstr("too early"));
}

TEST(HuggingFaceFolder, TakesTheEmbeddingForATiedHead) {
  Folder files;
  files.config["tie_word_embeddings"] = true;
  files.tensors[head_name] = files.tensors[embedding_name];
  files.write();
  EXPECT_EQ(HuggingFaceFolder{files.folder.path()}.find(TensorKind::weight, head_name), nullptr);
  files.tensors[head_name].bytes[79] ^= 1;
  files.write();
  EXPECT_THAT(files.refused(), HasSubstr("sets tie_word_embeddings, but lm_head.weight differs"));
  files.tensors.erase(head_name);
  files.write();
  EXPECT_EQ(files.refused(), "");
  files.config["tie_word_embeddings"] = false;
  files.write();
  EXPECT_THAT(files.refused(), HasSubstr("has no tensor lm_head.weight, and config.json does not set"));
}

TEST(HuggingFaceFolder, RefusesOtherTensorsThanTheModels) {
  std::string const norm = "model.norm.weight";
  {
    Folder files;
    files.tensors.erase("model.layers.1.mlp.up_proj.weight");
    files.write();
    EXPECT_THAT(files.refused(), HasSubstr("has no tensor model.layers.1.mlp.up_proj.weight"));
  }
  {
    Folder files;
    files.tensors["model.layers.0.self_attn.q_proj.bias"] = make("q", "F32", {4});
    files.write();
    EXPECT_THAT(files.refused(), HasSubstr("q_proj.bias\", which is no tensor of a Llama with this config.json"));
  }
  {
    Folder files;
    files.tensors[norm] = make(norm, "F32", {1, 4});
    files.write();
    EXPECT_THAT(files.refused(), HasSubstr("model.norm.weight is 1 x 4, after config.json it is 4"));
  }
  {
    Folder files;
    files.tensors[norm] = make(norm, "F32", {1, 2, 2});
    files.write();
    EXPECT_THAT(files.refused(), HasSubstr("is 1 x 2 x 2, neither a vector nor a matrix"));
  }
  {
    Folder files;
    files.tensors[norm].dtype = "I32";
    files.write();
    EXPECT_THAT(files.refused(), HasSubstr("\"model.norm.weight\" is I32; only F32, BF16 and F16 are read"));
  }
}

TEST(HuggingFaceFolder, IgnoresSavedFrequencies) {
  Folder files;
  files.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = make("f", "F32", {1});
  files.write();
  HuggingFaceFolder folder{files.folder.path()};
  expect_values(folder);
}

TEST(HuggingFaceFolder, NamesManyLayersThatAreNotThereAtOnce) {
  Folder files;
  files.config["num_hidden_layers"] = 2'000'000'000;
  files.write();
  EXPECT_THAT(files.refused(), HasSubstr("has no tensor model.layers.2."));
}

TEST(HuggingFaceFolder, NeedsItsFiles) {
  Folder const files;
  files.write_config();
  EXPECT_THROW(HuggingFaceFolder{files.folder.path()}, UserError);
  test::write_file(files.folder / "pytorch_model.bin", "");
  try {
    HuggingFaceFolder{files.folder.path()};
    FAIL();
  } catch (UserError const& error) {
    EXPECT_THAT(error.what(), HasSubstr("weights in pytorch_model.bin are not read"));
  }
  files.write_sharded();
  std::filesystem::remove(files.folder / "two.safetensors");
  EXPECT_THROW(HuggingFaceFolder{files.folder.path()}, UserError);
}

TEST(SafetensorsIndex, RefusesNamesOutsideOfTheFolder) {
  for (char const* const place : {"/etc/x.safetensors", "../x.safetensors", "a/x.safetensors", "..", ".x.safetensors",
                                  "a\\x.safetensors", "", "x.bin"}) {
    Folder const files;
    files.write_sharded({{"model.norm.weight", place}});
    EXPECT_THAT(files.refused(), HasSubstr("which is no safetensors file of the same folder")) << place;
  }
  EXPECT_THAT(refusal_of([] {
                parse_safetensors_index(json{{"weight_map", {{"a", std::string("x\0.safetensors", 14)}}}}.dump(), "f");
              }),
              HasSubstr("weight_map.a is"));
}

TEST(SafetensorsIndex, RefusesWhatIsNoIndex) {
  auto const refused = [](char const* text) { return refusal_of([&] { parse_safetensors_index(text, "f"); }); };
  EXPECT_THAT(refused("[]"), HasSubstr("f: is no object"));
  EXPECT_THAT(refused("{}"), HasSubstr("has no weight_map"));
  EXPECT_THAT(refused(R"({"weight_map": []})"), HasSubstr("weight_map is no object"));
  EXPECT_THAT(refused(R"({"weight_map": {}})"), HasSubstr("places no tensor"));
  EXPECT_THAT(refused(R"({"weight_map": {"a": 1}})"), HasSubstr("weight_map.a is no text"));
  EXPECT_THAT(refused(R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})"), HasSubstr("stands twice"));
}

TEST(SafetensorsIndex, MustAgreeWithTheFiles) {
  Folder const files;
  files.write_sharded({{"lm_head.weight", "two.safetensors"}});
  EXPECT_THAT(files.refused(), HasSubstr("one.safetensors: holds \"lm_head.weight\", which model.safetensors.index"));
  files.write_sharded({{"more", "one.safetensors"}});
  EXPECT_THAT(files.refused(), HasSubstr("does not hold \"more\""));
}

}  // namespace
}  // namespace jreg::store
