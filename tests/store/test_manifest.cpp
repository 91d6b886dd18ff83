#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/files.h"
#include "store/manifest.h"
#include "store/tensors.h"

namespace jreg::store {
namespace {

using nlohmann::json;

Manifest example() {
  TensorEntry matrix{"a.weight", TensorKind::weight, DType::f32, Shape::of_matrix(4, 6), {}};
  matrix.slices = {{"rank_00000.h5", {0, 4, 0, 2}}, {"rank_00001.h5", {0, 4, 2, 6}}};
  TensorEntry vector{"b.weight", TensorKind::moment2, DType::bf16, Shape::of_vector(3), {}};
  vector.slices = {{"rank_00001.h5", {0, 3, 0, 1}}};
  std::string const hash = hash_of("");
  return {test::make_state(7),
          "1.2.3",
          "abc",
          hash,
          {{"rank_00000.h5", 10, hash}, {"rank_00001.h5", 20, hash}, {"index.h5", 30, hash}},
          {matrix, vector}};
}

/// The text of a manifest whose content was changed and whose own hash is right.
std::string signed_text(json const& body) {
  std::string text = body.dump(1);
  text.erase(text.size() - 2);
  return text + ",\n \"xxh3_128\": \"" + hash_of(text) + "\"\n}\n";
}

json body_of(Manifest const& manifest) {
  json body = json::parse(to_json(manifest));
  body.erase("xxh3_128");
  return body;
}

TEST(Manifest, ReadsWhatItWrote) {
  std::string const text = to_json(example());
  Manifest const back = parse_manifest(text, "m");
  EXPECT_EQ(to_json(back), text);
  EXPECT_EQ(back.tensors[0].slices[1].part, (Rectangle{0, 4, 2, 6}));
  EXPECT_TRUE(back.tensors[1].shape.vector);
  EXPECT_EQ(signed_text(body_of(example())), text);
}

TEST(Manifest, TellsOfOriginAndOfWeightsOnly) {
  Manifest manifest = example();
  State const plain = parse_manifest(to_json(manifest), "m").state;
  EXPECT_TRUE(plain.origin.known().empty());
  EXPECT_FALSE(plain.weights_only);
  manifest.state.origin = {"run-0", "/models/a"};
  manifest.state.weights_only = true;
  State const back = parse_manifest(to_json(manifest), "m").state;
  EXPECT_EQ(back.origin.parent_run_id, "run-0");
  EXPECT_EQ(back.origin.initial_weights, "/models/a");
  EXPECT_TRUE(back.weights_only);
}

TEST(Manifest, RefusesEveryFlippedBitAndEveryLength) {
  std::string const text = to_json(example());
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string flipped = text;
    flipped[i] ^= static_cast<char>(1 << (i % 8));
    EXPECT_THROW(parse_manifest(flipped, "m"), DataError) << i;
    EXPECT_THROW(parse_manifest(std::string_view{text}.substr(0, i), "m"), DataError) << i;
  }
}

struct Change {
  char const* place;  // JSON pointer
  json value;
};

class ChangedManifest : public testing::TestWithParam<Change> {};

TEST_P(ChangedManifest, IsRefusedThoughItsHashIsRight) {
  json body = body_of(example());
  ASSERT_NO_THROW(parse_manifest(signed_text(body), "m"));
  body[json::json_pointer{GetParam().place}] = GetParam().value;
  EXPECT_THROW(parse_manifest(signed_text(body), "m"), DataError) << GetParam().place << " " << GetParam().value;
}

INSTANTIATE_TEST_SUITE_P(
    All, ChangedManifest,
    testing::Values(
        Change{"/format", "other"}, Change{"/format_version", 2}, Change{"/format_version", "1"}, Change{"/version", 3},
        Change{"/config_hash", "zz"}, Change{"/state", 1}, Change{"/state/step", -1}, Change{"/state/step", 1.5},
        Change{"/state/step", 18446744073709551615ULL}, Change{"/state/step", "7"}, Change{"/state/step", nullptr},
        Change{"/state/layers", 0}, Change{"/state/layers", 4}, Change{"/state/jump_gates", {0, 1, 2}},
        Change{"/state/mesh/zero1", 1}, Change{"/state/mesh/data", 0}, Change{"/state/config", {{"only"}}},
        Change{"/state/config", {{"a", 1}}}, Change{"/files", json::object()}, Change{"/files/0/name", "../x.h5"},
        Change{"/files/0/name", "/etc/passwd"}, Change{"/files/0/name", "rank_0000x.h5"},
        Change{"/files/0/name", "rank_00001.h5"}, Change{"/files/2/name", "rank_00002.h5"}, Change{"/files/0/bytes", 0},
        Change{"/files/0/bytes", -5}, Change{"/files/0/xxh3_128", "0"}, Change{"/tensors", 5},
        Change{"/tensors/0/name", "../a"}, Change{"/tensors/0/name", "a/b"}, Change{"/tensors/0/name", ""},
        Change{"/tensors/0/name", ".."}, Change{"/tensors/0/kind", "other"}, Change{"/tensors/0/dtype", "int8"},
        Change{"/tensors/0/dtype", "int64"}, Change{"/tensors/0/shape", json::array()},
        Change{"/tensors/0/shape", {4, 6, 1}}, Change{"/tensors/0/shape", {0, 6}}, Change{"/tensors/0/shape", {4}},
        Change{"/tensors/0/shape", {1099511627776, 1099511627776}}, Change{"/tensors/0/slices", json::array()},
        Change{"/tensors/0/slices/0", {0, 0, 4, 0}}, Change{"/tensors/0/slices/0/0", 3},
        Change{"/tensors/0/slices/0/0", -1}, Change{"/tensors/0/slices/0/1", 1}, Change{"/tensors/0/slices/0/2", 5},
        Change{"/tensors/0/slices/0/4", 3}, Change{"/tensors/0/slices/1/3", 3},
        Change{"/tensors/0/slices/1/4", 4611686018427387903}));

TEST(Manifest, RefusesATensorThatStandsTwice) {
  Manifest twice = example();
  twice.tensors.push_back(twice.tensors.front());
  EXPECT_THROW(parse_manifest(to_json(twice), "m"), DataError);
  twice.tensors.back().kind = TensorKind::moment1;
  EXPECT_NO_THROW(parse_manifest(to_json(twice), "m"));
}

TEST(Manifest, RefusesMoreElementsOrBytesThanCanBeCounted) {
  constexpr std::int64_t rows = std::int64_t{1} << 40;
  constexpr std::int64_t columns = std::int64_t{1} << 21;  // half of what can be counted
  Manifest many = example();
  many.tensors[0].shape = Shape::of_matrix(rows, columns);
  many.tensors[0].slices = {{"rank_00000.h5", {0, rows, 0, columns}}};
  EXPECT_NO_THROW(parse_manifest(to_json(many), "m"));
  many.tensors.push_back(many.tensors[0]);
  many.tensors.back().name = "c.weight";
  EXPECT_THROW(parse_manifest(to_json(many), "m"), DataError);

  many = example();
  many.files[0].bytes = many.files[1].bytes = rows * columns;
  EXPECT_THROW(parse_manifest(to_json(many), "m"), DataError);
}

}  // namespace
}  // namespace jreg::store
