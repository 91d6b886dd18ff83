#include "store/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "base/error.h"
#include "store/json_node.h"

namespace jreg::store {
namespace {

using nlohmann::json;

constexpr std::int64_t length_bytes = 8;
constexpr std::int64_t longest_header = 100'000'000;
// Bits of a tensor; a sum of two still fits 64 bits.
constexpr std::int64_t largest = (std::int64_t{1} << 62) - 1;

struct ElementType {
  char const* name;
  std::int64_t bits;
};
constexpr std::array element_types{
    ElementType{"BOOL", 8},        ElementType{"U8", 8},         ElementType{"I8", 8},      ElementType{"F8_E5M2", 8},
    ElementType{"F8_E4M3", 8},     ElementType{"F8_E8M0", 8},    ElementType{"U16", 16},    ElementType{"I16", 16},
    ElementType{"F16", 16},        ElementType{"BF16", 16},      ElementType{"U32", 32},    ElementType{"I32", 32},
    ElementType{"F32", 32},        ElementType{"U64", 64},       ElementType{"I64", 64},    ElementType{"F64", 64},
    ElementType{"C64", 64},        ElementType{"F4", 4},         ElementType{"F6_E2M3", 6}, ElementType{"F6_E3M2", 6},
    ElementType{"F8_E4M3FNUZ", 8}, ElementType{"F8_E5M2FNUZ", 8}};

SafetensorsEntry parse_entry(std::string const& name, JsonNode const& node, std::string const& file) {
  SafetensorsEntry tensor;
  tensor.name = name;
  tensor.dtype = node.at("dtype").text();
  for (JsonNode const& extent : node.at("shape").items()) tensor.shape.push_back(extent.integer(0, largest));
  std::vector<JsonNode> const offsets = node.at("data_offsets").items();
  if (offsets.size() != 2) node.at("data_offsets").refuse("is not where the data begin and end");
  tensor.begin = offsets[0].integer(0, largest);
  tensor.end = offsets[1].integer(0, largest);
  if (std::int64_t const bytes = safetensors_bytes(tensor, file); tensor.end - tensor.begin != bytes) {
    node.at("data_offsets")
        .refuse(
            fmt::format("are {} bytes apart; {} of this shape has {}", tensor.end - tensor.begin, tensor.dtype, bytes));
  }
  return tensor;
}

void check_metadata(JsonNode const& node) {
  for (auto const& [key, value] : node.members()) value.text();
}

/// One after another, from 0 to the end of the data.
void check_places(std::vector<SafetensorsEntry> const& tensors, std::int64_t data_bytes, std::string const& file) {
  std::int64_t end = 0;
  for (SafetensorsEntry const& tensor : tensors) {
    if (tensor.begin != end) {
      throw DataError(
          "{}: the data of {} begin at {}, the data before them end at {}: they must neither overlap nor "
          "leave a hole",
          file, in_quotes(tensor.name), tensor.begin, end);
    }
    end = tensor.end;
  }
  if (end != data_bytes) {
    throw DataError("{}: has {} bytes of data, not the {} that its header tells", file, data_bytes, end);
  }
}

}  // namespace

std::int64_t safetensors_bytes(SafetensorsEntry const& tensor, std::string const& file) {
  auto const type =
      std::ranges::find_if(element_types, [&](ElementType const& known) { return tensor.dtype == known.name; });
  if (type == element_types.end()) {
    throw DataError("{}: {} has the unknown dtype {}", file, in_quotes(tensor.name), in_quotes(tensor.dtype));
  }
  std::int64_t bits = type->bits;
  for (std::int64_t const extent : tensor.shape) {
    if (extent > 0 && bits > largest / extent) {
      throw DataError("{}: the shape of {} has more elements than can be counted", file, in_quotes(tensor.name));
    }
    bits *= extent;
  }
  if (bits % 8 != 0) throw DataError("{}: {} ends within a byte", file, in_quotes(tensor.name));
  return bits / 8;
}

std::vector<SafetensorsEntry> parse_safetensors(std::string_view header, std::int64_t data_bytes,
                                                std::string const& file) {
  if (!header.starts_with('{')) throw DataError("{}: its header does not begin with {{", file);
  json const parsed = parse_json(header, file);
  std::vector<SafetensorsEntry> tensors;
  for (auto const& [name, node] : JsonNode{parsed, file, ""}.members()) {
    if (name == "__metadata__") {
      check_metadata(node);
    } else {
      tensors.push_back(parse_entry(name, node, file));
    }
  }
  std::ranges::sort(tensors, {}, [](SafetensorsEntry const& tensor) { return std::tuple{tensor.begin, tensor.end}; });
  check_places(tensors, data_bytes, file);
  return tensors;
}

SafetensorsHeader read_safetensors_header(Descriptor const& file, std::filesystem::path const& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno("size of", path.string());
  if (!S_ISREG(status.st_mode)) throw UserError("{}: is not a regular file", path.string());
  std::int64_t const size = status.st_size;
  if (size < length_bytes) throw DataError("{}: {} bytes are no safetensors file", path.string(), size);
  std::array<unsigned char, length_bytes> bytes{};
  read_at(file, 0, std::as_writable_bytes(std::span{bytes}), path);
  std::uint64_t length = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) length = length << 8U | bytes[i];
  if (length > std::uint64_t{longest_header}) {
    throw DataError("{}: its header would have {} bytes, more than the {} of the format: it is no safetensors file",
                    path.string(), length, longest_header);
  }
  auto const header_bytes = static_cast<std::int64_t>(length);
  if (header_bytes > size - length_bytes) {
    throw DataError("{}: its header would have {} bytes, the file has only {}: it is cut off", path.string(), length,
                    size);
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  read_at(file, length_bytes, std::as_writable_bytes(std::span{text}), path);
  std::int64_t const data_begin = length_bytes + header_bytes;
  return {data_begin, parse_safetensors(text, size - data_begin, path.string())};
}

std::string safetensors_header(std::span<SafetensorsEntry const> tensors) {
  nlohmann::ordered_json header{{"__metadata__", {{"format", "pt"}}}};  // transformers reads no file without it
  std::int64_t end = 0;
  for (SafetensorsEntry const& tensor : tensors) {
    std::int64_t const begin = end;
    end += safetensors_bytes(tensor, "header");
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.append((length_bytes - text.size() % length_bytes) % length_bytes, ' ');  // the data begin aligned
  std::string length(length_bytes, '\0');
  for (std::size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xFFU);
  return length + text;
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::span<SafetensorsEntry const> tensors)
    : path_{std::move(path)}, file_{open_descriptor(path_, O_WRONLY | O_CREAT | O_EXCL, 0666)} {
  std::string const header = safetensors_header(tensors);
  header_bytes_ = static_cast<std::int64_t>(header.size());
  for (SafetensorsEntry const& tensor : tensors) data_bytes_ += safetensors_bytes(tensor, path_.string());
  write_all(file_, header, path_);
}

void SafetensorsWriter::write(std::span<std::byte const> bytes) {
  write_at(file_, header_bytes_ + written_, bytes, path_);
  written_ += static_cast<std::int64_t>(bytes.size());
}

void SafetensorsWriter::finish() {
  expect_equal(written_, data_bytes_, "bytes written of a safetensors file");
  file_ = Descriptor{};
  sync(path_);
}

}  // namespace jreg::store
