// A safetensors file. Input: the file.
#include <fcntl.h>

#include <algorithm>
#include <set>

#include "fuzz/fuzz.h"
#include "store/safetensors.h"

namespace jreg::fuzz {
namespace {

using store::SafetensorsEntry;

void check_entries(std::vector<SafetensorsEntry> const& tensors, std::int64_t data_bytes) {
  std::int64_t end = 0;
  std::set<std::string> names;
  for (SafetensorsEntry const& tensor : tensors) {
    must_hold(tensor.begin == end && tensor.end >= tensor.begin, "tensors follow each other");
    must_hold(tensor.end - tensor.begin == store::safetensors_bytes(tensor, "input"), "a tensor has its shape's size");
    must_hold(names.insert(tensor.name).second, "a name stands once");
    end = tensor.end;
  }
  must_hold(end == data_bytes, "the tensors are all of the data");
}

void check_written(std::vector<SafetensorsEntry> const& tensors, std::int64_t data_bytes) {
  std::string const text = store::safetensors_header(tensors).substr(8);
  must_hold((text.size() + 8) % 8 == 0, "the data begin aligned");
  auto const again = store::parse_safetensors(text, data_bytes, "written");
  must_hold(again.size() == tensors.size(), "what is written reads back");
  for (SafetensorsEntry const& tensor : tensors) {
    auto const at = std::ranges::find(again, tensor.name, &SafetensorsEntry::name);
    must_hold(at != again.end() && at->dtype == tensor.dtype && at->shape == tensor.shape && at->begin == tensor.begin,
              "what is written reads back equal");
  }
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg;
  fuzz::MemoryFile const file{fuzz::text_of(data, size)};
  fuzz::accepts([&] {
    auto const descriptor = store::open_descriptor(file.path(), O_RDONLY);
    store::SafetensorsHeader const header = store::read_safetensors_header(descriptor, file.path());
    auto const data_bytes = static_cast<std::int64_t>(size) - header.data_begin;
    fuzz::check_entries(header.tensors, data_bytes);
    fuzz::check_written(header.tensors, data_bytes);
  });
  return 0;
}
