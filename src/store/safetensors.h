#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/files.h"

// Files in the safetensors format: 8 bytes with the length of a header (little endian), the header as a JSON object
// {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, ...}, then all tensors without a hole, each
// row-major and little endian.
namespace jreg::store {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;                // as the format spells it: "F32", "BF16", ...
  std::vector<std::int64_t> shape;  // outermost axis first; empty for a single number
  std::int64_t begin = 0;           // bytes from the end of the header on
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  std::int64_t data_begin = 0;            // where in the file the header ends
  std::vector<SafetensorsEntry> tensors;  // in the order of their data
};

/// Parses the JSON text of a header of a file with `data_bytes` bytes behind it. Throws DataError "<file>: ..." where
/// the text is no such object (a key twice, other types, an unknown dtype, a size that is not a whole number or does
/// not fit the shape) or the data have holes, overlap or do not end with the file.
std::vector<SafetensorsEntry> parse_safetensors(std::string_view header, std::int64_t data_bytes,
                                                std::string const& file);

/// Reads the header of an open file. Throws DataError also where the file is shorter than it says, or the header longer
/// than the format allows (100 MB).
SafetensorsHeader read_safetensors_header(Descriptor const& file, std::filesystem::path const& path);

/// Length and JSON text of a header; the tensors' places are those of their data one after another, in this order.
std::string safetensors_header(std::span<SafetensorsEntry const> tensors);

/// Writes a safetensors file front to back; nothing of it is kept in memory.
class SafetensorsWriter {
public:
  /// Writes the header; of the entries, names, types and shapes count. Throws SystemError, as all calls do.
  SafetensorsWriter(std::filesystem::path path, std::span<SafetensorsEntry const> tensors);

  /// The next bytes of the data.
  void write(std::span<std::byte const> bytes);
  /// Waits until the file is on the disk; all data must have been written.
  void finish();

  /// Size of the file.
  std::int64_t bytes() const noexcept { return header_bytes_ + data_bytes_; }

private:
  std::filesystem::path path_;
  Descriptor file_;
  std::int64_t header_bytes_ = 0;
  std::int64_t data_bytes_ = 0;  // of all tensors
  std::int64_t written_ = 0;     // of them
};

/// Size in bytes of a tensor of this type and shape. Throws DataError "<file>: ..." for a dtype that the format does
/// not know, a shape with more elements than can be counted, or one that ends within a byte.
std::int64_t safetensors_bytes(SafetensorsEntry const& tensor, std::string const& file);

}  // namespace jreg::store
