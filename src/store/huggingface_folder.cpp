#include "store/huggingface_folder.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

#include "base/error.h"
#include "store/huggingface_config.h"
#include "store/json_node.h"
#include "store/llama_tensors.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t largest_index = std::int64_t{100} << 20;
constexpr std::int64_t piece_bytes = std::int64_t{4} << 20;  // read at once

constexpr char const* single_file = "model.safetensors";
constexpr char const* index_file = "model.safetensors.index.json";

/// The files with weights, each with the tensors that the index places there; without an index it holds any.
std::map<std::string, std::optional<std::set<std::string>>> list_files(fs::path const& folder) {
  std::error_code error;
  if (fs::exists(folder / single_file, error)) return {{single_file, std::nullopt}};
  fs::path const index = folder / index_file;
  if (!fs::exists(index, error)) {
    bool const pickled =
        fs::exists(folder / "pytorch_model.bin", error) || fs::exists(folder / "pytorch_model.bin.index.json", error);
    throw UserError("{}: has neither {} nor {}{}", folder.string(), single_file, index_file,
                    pickled ? "; weights in pytorch_model.bin are not read: load and save the model with transformers, "
                              "which writes safetensors"
                            : "");
  }
  std::map<std::string, std::optional<std::set<std::string>>> files;
  for (auto const& [name, file] : parse_safetensors_index(read_text(index, largest_index), index.string())) {
    auto& tensors = files[file];
    if (!tensors) tensors.emplace();
    tensors->insert(name);
  }
  return files;
}

/// Frequencies of the rotary positions, which old versions of transformers saved and no version reads.
bool is_ignored(std::string const& name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

StoredType stored_type(SafetensorsEntry const& tensor, std::string const& file) {
  if (tensor.dtype == "F32") return StoredType::f32;
  if (tensor.dtype == "F16") return StoredType::f16;
  if (tensor.dtype == "BF16") return StoredType::bf16;
  throw DataError("{}: {} is {}; only F32, BF16 and F16 are read", file, in_quotes(tensor.name), tensor.dtype);
}

std::string text_of(std::vector<std::int64_t> const& shape) {
  std::string text;
  for (std::int64_t const extent : shape) text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text.empty() ? "a single number" : text;
}

std::string text_of(Shape const& shape) {
  return text_of(shape.vector ? std::vector{shape.rows} : std::vector{shape.rows, shape.columns});
}

}  // namespace

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string const& file) {
  nlohmann::json const parsed = parse_json(text, file);
  std::map<std::string, std::string> places;
  for (auto const& [name, node] : JsonNode{parsed, file, ""}.at("weight_map").members()) {
    std::string const place = node.text();
    bool const plain = !place.empty() && place.size() <= 255 && place.front() != '.' &&
                       place.find_first_of(std::string_view{"/\\\0", 3}) == std::string::npos;
    if (!plain || !place.ends_with(".safetensors")) {
      node.refuse(fmt::format("is {}, which is no safetensors file of the same folder", node.shown()));
    }
    places.emplace(name, place);
  }
  if (places.empty()) throw DataError("{}: places no tensor", file);
  return places;
}

HuggingFaceFolder::HuggingFaceFolder(fs::path folder)
    : folder_{std::move(folder)}, config_{read_huggingface_config(folder_ / "config.json")} {
  read_headers();
  check_tensors();
  check_tied_head();
}

void HuggingFaceFolder::read_headers() {
  for (auto& [file, placed] : list_files(folder_)) {
    fs::path const path = folder_ / file;
    Descriptor descriptor = open_descriptor(path, O_RDONLY);
    SafetensorsHeader const header = read_safetensors_header(descriptor, path);
    for (SafetensorsEntry const& tensor : header.tensors) {
      if (placed && placed->erase(tensor.name) == 0) {
        throw DataError("{}: holds {}, which {} does not place there", path.string(), in_quotes(tensor.name),
                        index_file);
      }
      if (!is_ignored(tensor.name)) add(tensor, header.data_begin, file);
    }
    if (placed && !placed->empty()) {
      throw DataError("{}: does not hold {}, which {} places there", path.string(), in_quotes(*placed->begin()),
                      index_file);
    }
    files_.emplace(file, std::move(descriptor));
  }
}

void HuggingFaceFolder::add(SafetensorsEntry const& tensor, std::int64_t data_begin, std::string const& file) {
  StoredTensor stored;
  stored.type = stored_type(tensor, (folder_ / file).string());
  stored.offset = data_begin + tensor.begin;
  std::vector<std::int64_t> const& shape = tensor.shape;
  bool const empty = std::ranges::find(shape, 0) != shape.end();
  if (shape.empty() || shape.size() > 2 || empty) {
    throw DataError("{}: {} is {}, neither a vector nor a matrix", (folder_ / file).string(), in_quotes(tensor.name),
                    text_of(shape));
  }
  Shape const whole = shape.size() == 1 ? Shape::of_vector(shape[0]) : Shape::of_matrix(shape[0], shape[1]);
  stored.entry = {.name = tensor.name,
                  .kind = TensorKind::weight,
                  .dtype = stored.type == StoredType::bf16 ? DType::bf16 : DType::f32,
                  .shape = whole,
                  .slices = {{file, Rectangle::whole(whole)}}};
  tensors_.emplace(tensor.name, std::move(stored));
}

void HuggingFaceFolder::check_tensors() {
  std::set<std::string> left;
  for (auto const& [name, tensor] : tensors_) left.insert(name);
  for_each_tensor(config_.model, [&](std::string const& name, Shape const& shape) {
    auto const found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw DataError("{}: has no tensor {}{}", folder_.string(), name,
                      name == head_name ? ", and config.json does not set tie_word_embeddings" : "");
    }
    if (found->second.entry.shape != shape) {
      throw DataError("{}: {} is {}, after config.json it is {}", path_of(found->second).string(), name,
                      text_of(found->second.entry.shape), text_of(shape));
    }
    left.erase(name);
  });
  if (config_.model.tie_embeddings) left.erase(head_name);
  if (!left.empty()) {
    throw DataError("{}: holds {}, which is no tensor of a Llama with this config.json", folder_.string(),
                    in_quotes(*left.begin()));
  }
}

/// A head beside tie_word_embeddings is a copy of the embedding, or one of the two is wrong.
void HuggingFaceFolder::check_tied_head() {
  auto const head = tensors_.find(head_name);
  if (!config_.model.tie_embeddings || head == tensors_.end()) return;
  auto const embedding = tensors_.find(embedding_name);
  Shape const shape = embedding->second.entry.shape;
  bool equal = head->second.entry.shape == shape && head->second.type == embedding->second.type;
  std::int64_t const step = std::max<std::int64_t>(1, piece_bytes / (4 * shape.columns));
  std::vector<float> ours;
  std::vector<float> theirs;
  for (std::int64_t row = 0; equal && row < shape.rows; row += step) {
    Rectangle const part{row, std::min(row + step, shape.rows), 0, shape.columns};
    ours.resize(static_cast<std::size_t>(part.rows() * part.columns()));
    theirs.resize(ours.size());
    read_slice(TensorKind::weight, embedding_name, part, DType::f32, ours.data());
    read_slice(TensorKind::weight, head_name, part, DType::f32, theirs.data());
    equal = std::memcmp(ours.data(), theirs.data(), ours.size() * sizeof(float)) == 0;
  }
  if (!equal) {
    throw DataError("{}: config.json sets tie_word_embeddings, but {} differs from {}", folder_.string(), head_name,
                    embedding_name);
  }
  tensors_.erase(head);
}

TensorEntry const* HuggingFaceFolder::find(TensorKind kind, std::string const& name) const {
  auto const at = tensors_.find(name);
  return kind != TensorKind::weight || at == tensors_.end() ? nullptr : &at->second.entry;
}

void HuggingFaceFolder::read_slice(TensorKind kind, std::string const& name, Rectangle const& part, DType dtype,
                                   void* host) {
  TensorEntry const* const entry = find(kind, name);
  if (entry == nullptr) throw DataError("{}: has no {}/{}", folder_.string(), group_of(kind), name);
  if (part.empty()) return;
  StoredTensor const& tensor = tensors_.at(name);
  Shape const& shape = entry->shape;
  if (part.row_begin < 0 || part.column_begin < 0 || part.row_end > shape.rows || part.column_end > shape.columns) {
    throw DataError("{}: {} is {}; rows {}-{} and columns {}-{} are not all there", path_of(tensor).string(), name,
                    text_of(shape), part.row_begin, part.row_end, part.column_begin, part.column_end);
  }
  auto const size = static_cast<std::int64_t>(size_of(tensor.type));
  // Whole rows lie one after another and are read together.
  bool const joined = part.columns() == shape.columns;
  std::int64_t const runs = joined ? 1 : part.rows();
  std::int64_t const length = joined ? part.rows() * part.columns() : part.columns();  // elements of a run
  Descriptor const& file = files_.at(entry->slices[0].file);
  fs::path const path = path_of(tensor);
  auto* to = static_cast<std::byte*>(host);
  std::vector<std::byte> piece;
  for (std::int64_t run = 0; run < runs; ++run) {
    std::int64_t const begin = tensor.offset + ((part.row_begin + run) * shape.columns + part.column_begin) * size;
    for (std::int64_t done = 0; done < length;) {
      std::int64_t const count = std::min(length - done, piece_bytes / size);
      piece.resize(static_cast<std::size_t>(count * size));
      read_at(file, begin + done * size, piece, path);
      convert_elements(piece, tensor.type, dtype, to);
      to += static_cast<std::size_t>(count) * jreg::size_of(dtype);
      done += count;
    }
  }
}

}  // namespace jreg::store
