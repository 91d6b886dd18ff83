#include "store/manifest.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "store/files.h"
#include "store/json_node.h"

namespace jreg::store {
namespace {

using nlohmann::json;

// Far above any model, far below what a product of two would overflow.
constexpr std::int64_t largest_extent = std::int64_t{1} << 40;
// The sum of two still fits.
constexpr std::int64_t largest_number = (std::int64_t{1} << 62) - 1;

constexpr std::string_view hash_key = ",\n \"xxh3_128\": \"";
constexpr std::size_t hash_digits = 32;
constexpr std::string_view text_end = "\"\n}\n";

constexpr std::array kinds{TensorKind::weight, TensorKind::moment1, TensorKind::moment2};
constexpr std::array dtypes{DType::f32, DType::bf16, DType::f64};

char const* name_of(TensorKind kind) {
  switch (kind) {
    case TensorKind::weight:
      return "weight";
    case TensorKind::moment1:
      return "moment1";
    case TensorKind::moment2:
      return "moment2";
  }
  return "?";
}

bool is_hash(std::string_view text) {
  return text.size() == hash_digits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// "index.h5" or "rank_00012.h5": never a path to elsewhere.
bool is_file_name(std::string_view text) {
  if (text == "index.h5") return true;
  if (!text.starts_with("rank_") || !text.ends_with(".h5") || text.size() < 13 || text.size() > 20) return false;
  return std::ranges::all_of(text.substr(5, text.size() - 8), [](char c) { return c >= '0' && c <= '9'; });
}

/// A name like "model.layers.0.mlp.up_proj.weight", which is one step of an HDF5 path.
bool is_tensor_name(std::string_view text) {
  return !text.empty() && text.size() <= 256 && text.front() != '.' && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
           c == '-';
  });
}

json state_json(State const& state) {
  json object{{"step", state.step},
              {"tokens", state.tokens},
              {"sampler_position", state.sampler_position},
              {"adamw_steps", state.adamw_steps},
              {"skipped_updates", state.skipped_updates},
              {"jump_gates", state.jump_gates},
              {"layers", state.layers},
              {"mesh", {{"data", state.data_ranks}, {"tensor", state.tensor_ranks}, {"zero1", state.zero1}}},
              {"run_id", state.run_id},
              {"config", state.config}};
  for (auto const& [name, value] : state.origin.known()) object[name] = value;
  if (state.weights_only) object["weights_only"] = true;
  return object;
}

State parse_state(JsonNode const& node) {
  State state;
  state.step = node.at("step").integer(0, largest_number);
  state.tokens = node.at("tokens").integer(0, largest_number);
  state.sampler_position = node.at("sampler_position").integer(0, largest_number);
  state.adamw_steps = node.at("adamw_steps").integer(0, largest_number);
  state.skipped_updates = node.at("skipped_updates").integer(0, largest_number);
  state.layers = node.at("layers").integer(1, 1'000'000);
  for (JsonNode const& gate : node.at("jump_gates").items()) state.jump_gates.push_back(gate.integer(0, 1));
  if (!state.jump_gates.empty() && static_cast<std::int64_t>(state.jump_gates.size()) != state.layers) {
    node.at("jump_gates").refuse("is not one per layer");
  }
  state.data_ranks = node.at("mesh").at("data").integer(1, largest_extent);
  state.tensor_ranks = node.at("mesh").at("tensor").integer(1, largest_extent);
  state.zero1 = node.at("mesh").at("zero1").boolean();
  state.run_id = node.at("run_id").text();
  if (node.has("parent_run_id")) state.origin.parent_run_id = node.at("parent_run_id").text();
  if (node.has("initial_weights")) state.origin.initial_weights = node.at("initial_weights").text();
  if (node.has("weights_only")) state.weights_only = node.at("weights_only").boolean();
  for (JsonNode const& pair : node.at("config").items()) {
    std::vector<JsonNode> const entry = pair.items();
    if (entry.size() != 2) pair.refuse("is no pair of key and value");
    state.config.emplace_back(entry[0].text(), entry[1].text());
  }
  return state;
}

json tensor_json(TensorEntry const& tensor, std::map<std::string, std::size_t> const& places) {
  json slices = json::array();
  for (SliceEntry const& slice : tensor.slices) {
    Rectangle const& part = slice.part;
    slices.push_back({places.at(slice.file), part.row_begin, part.row_end, part.column_begin, part.column_end});
  }
  json shape = json::array({tensor.shape.rows});
  if (!tensor.shape.vector) shape.push_back(tensor.shape.columns);
  return {{"name", tensor.name},
          {"kind", name_of(tensor.kind)},
          {"dtype", jreg::name_of(tensor.dtype)},
          {"shape", shape},
          {"slices", slices}};
}

TensorEntry parse_tensor(JsonNode const& node, std::vector<FileEntry> const& files) {
  TensorEntry tensor;
  tensor.name = node.at("name").text();
  tensor.kind = node.at("kind").one_of(kinds, name_of);
  tensor.dtype = node.at("dtype").one_of<DType>(dtypes, [](DType type) { return jreg::name_of(type); });
  std::vector<JsonNode> const shape = node.at("shape").items();
  if (shape.empty() || shape.size() > 2) node.at("shape").refuse("is neither a vector's nor a matrix'");
  tensor.shape.vector = shape.size() == 1;
  tensor.shape.rows = shape[0].integer(1, largest_extent);
  if (!tensor.shape.vector) tensor.shape.columns = shape[1].integer(1, largest_number / tensor.shape.rows);
  for (JsonNode const& slice : node.at("slices").items()) {
    std::vector<JsonNode> const numbers = slice.items();
    if (numbers.size() != 5) slice.refuse("is not file, rows and columns");
    auto const file = static_cast<std::size_t>(numbers[0].integer(0, static_cast<std::int64_t>(files.size()) - 1));
    auto const extent = [&](std::size_t i) { return numbers[i].integer(0, largest_number); };
    tensor.slices.push_back({files[file].name, {extent(1), extent(2), extent(3), extent(4)}});
  }
  return tensor;
}

std::vector<FileEntry> parse_files(JsonNode const& node) {
  std::vector<FileEntry> files;
  std::set<std::string> names;
  std::int64_t bytes = 0;
  for (JsonNode const& entry : node.items()) {
    FileEntry file{entry.at("name").text(), entry.at("bytes").integer(1, largest_number), entry.at("xxh3_128").text()};
    if (!is_file_name(file.name)) entry.at("name").refuse("is no name of a checkpoint's file");
    if (!is_hash(file.hash)) entry.at("xxh3_128").refuse("is no hash");
    if (!names.insert(file.name).second) entry.at("name").refuse("stands there twice");
    bytes += file.bytes;
    if (bytes > largest_number) node.refuse("has more bytes than can be counted");
    files.push_back(std::move(file));
  }
  if (!names.contains("index.h5")) node.refuse("has no index.h5");
  return files;
}

/// The hash that ends the text, checked against what stands before it.
void check_own_hash(std::string_view text, std::string const& file) {
  std::size_t const tail = hash_key.size() + hash_digits + text_end.size();
  if (text.size() < tail || !text.ends_with(text_end) || text.substr(text.size() - tail, hash_key.size()) != hash_key) {
    throw DataError("{}: does not end as a checkpoint's manifest does; it may be cut off", file);
  }
  std::string_view const body = text.substr(0, text.size() - tail);
  if (hash_of(body) != text.substr(body.size() + hash_key.size(), hash_digits)) {
    throw DataError("{}: its content does not match its own hash: it was changed or damaged", file);
  }
}

}  // namespace

KeyValues Origin::known() const {
  KeyValues known;
  for (auto const& [name, value] :
       {std::pair{"parent_run_id", &parent_run_id}, std::pair{"initial_weights", &initial_weights}}) {
    if (!value->empty()) known.emplace_back(name, *value);
  }
  return known;
}

char const* group_of(TensorKind kind) {
  switch (kind) {
    case TensorKind::weight:
      return "weights";
    case TensorKind::moment1:
      return "optimizer/moment1";
    case TensorKind::moment2:
      return "optimizer/moment2";
  }
  return "?";
}

std::string to_json(Manifest const& manifest) {
  std::map<std::string, std::size_t> places;
  json files = json::array();
  for (FileEntry const& file : manifest.files) {
    places.emplace(file.name, files.size());
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.hash}});
  }
  json tensors = json::array();
  for (TensorEntry const& tensor : manifest.tensors) tensors.push_back(tensor_json(tensor, places));
  json const body{{"format", "jreg checkpoint"},
                  {"format_version", Manifest::format_version},
                  {"version", manifest.version},
                  {"commit", manifest.commit},
                  {"config_hash", manifest.config_hash},
                  {"state", state_json(manifest.state)},
                  {"files", files},
                  {"tensors", tensors}};
  // Bytes that are no UTF-8 (a path may have them) are replaced rather than refused.
  std::string text = body.dump(1, ' ', false, json::error_handler_t::replace);
  text.erase(text.size() - 2);  // "\n}", which comes back behind the hash
  return fmt::format("{}{}{}{}", text, hash_key, hash_of(text), text_end);
}

Manifest parse_manifest(std::string_view text, std::string const& file) {
  check_own_hash(text, file);
  json const body = json::parse(text, nullptr, false);
  if (body.is_discarded()) throw DataError("{}: is no JSON", file);
  JsonNode const node{body, file, "manifest"};
  if (node.at("format").text() != "jreg checkpoint") node.at("format").refuse("is not \"jreg checkpoint\"");
  if (node.at("format_version").integer(1, largest_number) != Manifest::format_version) {
    node.at("format_version")
        .refuse(fmt::format("is not {}: another version of jreg wrote it", Manifest::format_version));
  }
  Manifest manifest;
  manifest.version = node.at("version").text();
  manifest.commit = node.at("commit").text();
  manifest.config_hash = node.at("config_hash").text();
  if (!is_hash(manifest.config_hash)) node.at("config_hash").refuse("is no hash");
  manifest.state = parse_state(node.at("state"));
  manifest.files = parse_files(node.at("files"));
  std::set<std::pair<TensorKind, std::string>> names;
  std::int64_t elements = 0;
  for (JsonNode const& entry : node.at("tensors").items()) {
    manifest.tensors.push_back(parse_tensor(entry, manifest.files));
    TensorEntry const& tensor = manifest.tensors.back();
    if (!names.emplace(tensor.kind, tensor.name).second) entry.refuse("stands there twice");
    check_tensor(tensor, file);
    elements += tensor.shape.rows * tensor.shape.columns;
    if (elements > largest_number) node.at("tensors").refuse("has more elements than can be counted");
  }
  return manifest;
}

std::string slice_name(std::string const& tensor, Rectangle const& part) {
  return fmt::format("{}@{},{}", tensor, part.row_begin, part.column_begin);
}

std::string dataset_of(TensorEntry const& tensor, Rectangle const& part) {
  return fmt::format("{}/{}", group_of(tensor.kind), slice_name(tensor.name, part));
}

void check_tensor(TensorEntry const& tensor, std::string const& file) {
  auto const refuse = [&](char const* what) {
    throw DataError("{}: the slices of {} {} {}", file, name_of(tensor.kind), tensor.name, what);
  };
  if (!is_tensor_name(tensor.name)) throw DataError("{}: \"{}\" is no name of a tensor", file, tensor.name);
  Rectangle const whole = Rectangle::whole(tensor.shape);
  std::vector<Rectangle> parts;
  std::int64_t area = 0;
  for (SliceEntry const& slice : tensor.slices) {
    Rectangle const& part = slice.part;
    if (part.empty() || part.row_begin < 0 || part.row_end > whole.row_end || part.column_begin < 0 ||
        part.column_end > whole.column_end) {
      refuse("leave the tensor");
    }
    area += part.rows() * part.columns();
    if (area > tensor.shape.rows * tensor.shape.columns) refuse("overlap");
    parts.push_back(part);
  }
  if (area != tensor.shape.rows * tensor.shape.columns) refuse("leave a hole");
  // As large as the tensor together: they cover it exactly once unless two of them overlap.
  std::ranges::sort(parts, {}, &Rectangle::row_begin);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (std::size_t j = i + 1; j < parts.size() && parts[j].row_begin < parts[i].row_end; ++j) {
      if (parts[j].column_begin < parts[i].column_end && parts[i].column_begin < parts[j].column_end) refuse("overlap");
    }
  }
}

}  // namespace jreg::store
