// A checkpoint's manifest: the input as it is, and the input with the hash behind it that makes it a manifest's
// content.
#include <algorithm>
#include <vector>

#include "fuzz/fuzz.h"
#include "store/files.h"
#include "store/manifest.h"

namespace jreg::fuzz {
namespace {

using store::Manifest;

/// Element by element, where the tensor is small enough for that.
void check_cover(store::TensorEntry const& tensor) {
  constexpr std::int64_t most_elements = 4096;
  if (tensor.shape.rows > most_elements || tensor.shape.columns > most_elements / tensor.shape.rows) return;
  std::vector<int> copies(static_cast<std::size_t>(tensor.shape.rows * tensor.shape.columns));
  for (store::SliceEntry const& slice : tensor.slices) {
    for (std::int64_t row = slice.part.row_begin; row < slice.part.row_end; ++row) {
      for (std::int64_t column = slice.part.column_begin; column < slice.part.column_end; ++column) {
        ++copies.at(static_cast<std::size_t>(row * tensor.shape.columns + column));
      }
    }
  }
  must_hold(std::ranges::all_of(copies, [](int n) { return n == 1; }), "the slices cover each element once");
}

void parse(std::string_view text) {
  Manifest manifest;
  if (!accepts([&] { manifest = store::parse_manifest(text, "manifest.json"); })) return;
  std::ranges::for_each(manifest.tensors, check_cover);
  std::int64_t elements = 0;
  for (store::TensorEntry const& tensor : manifest.tensors) elements += tensor.shape.rows * tensor.shape.columns;
  must_hold(elements >= 0, "elements can be counted");
  std::string const written = store::to_json(manifest);
  must_hold(store::to_json(store::parse_manifest(written, "written")) == written, "what is written reads back equal");
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg::fuzz;
  std::string const text{text_of(data, size)};
  parse(text);
  parse(text + ",\n \"xxh3_128\": \"" + jreg::store::hash_of(text) + "\"\n}\n");
  return 0;
}
