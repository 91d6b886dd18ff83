#include "store/huggingface_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/bfloat16.h"
#include "base/error.h"
#include "store/elements.h"
#include "store/files.h"
#include "store/llama_tensors.h"
#include "store/safetensors.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t piece_elements = std::int64_t{1} << 20;  // read and written at once

/// One tensor on its way into a file.
struct Passage {
  TensorEntry const* from;
  DType dtype;
  SafetensorsEntry to;
};

using Shard = std::vector<Passage>;

Passage passage_of(TensorSource const& source, std::string const& name, Shape const& shape,
                   std::optional<DType> dtype) {
  TensorEntry const* const from = source.find(TensorKind::weight, name);
  if (from == nullptr) throw DataError("{}: holds no tensor {}", source.folder().string(), name);
  if (!(from->shape == shape)) {
    throw DataError("{}: tensor {} is {} x {}, its config makes it {} x {}", source.folder().string(), name,
                    from->shape.rows, from->shape.columns, shape.rows, shape.columns);
  }
  DType const type = dtype ? *dtype : from->dtype == DType::bf16 ? DType::bf16 : DType::f32;
  SafetensorsEntry to{.name = name, .dtype = type == DType::bf16 ? "BF16" : "F32", .shape = {shape.rows}};
  if (!shape.vector) to.shape.push_back(shape.columns);
  return {from, type, to};
}

std::vector<Shard> plan_shards(TensorSource const& source, config::ModelConfig const& model, std::optional<DType> dtype,
                               std::int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  std::int64_t filled = 0;
  for_each_tensor(model, [&](std::string const& name, Shape const& shape) {
    Passage passage = passage_of(source, name, shape, dtype);
    std::int64_t const bytes = safetensors_bytes(passage.to, name);
    if (!shards.back().empty() && filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(passage));
  });
  return shards;
}

/// Whole rows of a tensor at a time, and pieces of a row where that is very long.
void copy_tensor(TensorSource& source, Passage const& passage, SafetensorsWriter& writer,
                 std::function<void()> const& pause) {
  Shape const& shape = passage.from->shape;
  std::int64_t const columns = std::min(shape.columns, piece_elements);
  std::int64_t const rows = std::max<std::int64_t>(1, piece_elements / shape.columns);
  // What is rounded is rounded here, as PyTorch does it; what is not is not converted at all.
  bool const rounds = passage.dtype == DType::bf16 && passage.from->dtype != DType::bf16;
  DType const read_as = rounds ? DType::f32 : passage.dtype;
  std::vector<std::byte> piece;
  std::vector<std::byte> rounded;
  for (std::int64_t row = 0; row < shape.rows; row += rows) {
    for (std::int64_t column = 0; column < shape.columns; column += columns) {
      pause();
      Rectangle const part{row, std::min(row + rows, shape.rows), column, std::min(column + columns, shape.columns)};
      auto const count = static_cast<std::size_t>(part.rows() * part.columns());
      piece.resize(count * size_of(read_as));
      source.read_slice(TensorKind::weight, passage.to.name, part, read_as, piece.data());
      if (rounds) {
        rounded.resize(count * sizeof(bfloat16));
        convert_elements(piece, StoredType::f32, DType::bf16, rounded.data());
      }
      writer.write(rounds ? rounded : piece);
    }
  }
}

std::string index_json(std::vector<Shard> const& shards, std::vector<std::string> const& names, std::int64_t bytes) {
  nlohmann::json map = nlohmann::json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (Passage const& passage : shards[i]) map[passage.to.name] = names[i];
  }
  nlohmann::json const index{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
  return index.dump(2) + "\n";
}

}  // namespace

WrittenWeights write_huggingface_weights(TensorSource& source, config::ModelConfig const& model,
                                         std::optional<DType> dtype, std::int64_t shard_bytes, fs::path const& folder,
                                         std::function<void()> const& pause) {
  std::vector<Shard> const shards = plan_shards(source, model, dtype, shard_bytes);
  WrittenWeights result;
  result.dtype = shards.front().front().dtype;
  std::vector<std::string> names;
  std::int64_t tensor_bytes = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    names.push_back(shards.size() == 1 ? "model.safetensors"
                                       : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    std::vector<SafetensorsEntry> entries;
    for (Passage const& passage : shards[i]) entries.push_back(passage.to);
    SafetensorsWriter writer{folder / names.back(), entries};
    for (Passage const& passage : shards[i]) {
      copy_tensor(source, passage, writer, pause);
      result.parameters += passage.from->shape.rows * passage.from->shape.columns;
      tensor_bytes += safetensors_bytes(passage.to, passage.to.name);
      ++result.tensors;
    }
    writer.finish();
    result.bytes += writer.bytes();
  }
  result.files = std::ssize(shards);
  if (shards.size() > 1) {
    replace_file(folder / "model.safetensors.index.json", index_json(shards, names, tensor_bytes));
  }
  return result;
}

}  // namespace jreg::store
