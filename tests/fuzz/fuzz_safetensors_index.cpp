// model.safetensors.index.json. Input: the file.
#include "fuzz/fuzz.h"
#include "store/huggingface_folder.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg;
  fuzz::accepts([&] {
    auto const places = store::parse_safetensors_index(fuzz::text_of(data, size), "input");
    fuzz::must_hold(!places.empty(), "an index places a tensor");
    for (auto const& [name, file] : places) {
      std::filesystem::path const path{file};
      fuzz::must_hold(path.is_relative() && path.filename() == path && path.extension() == ".safetensors",
                      "an index names files of its own folder alone");
      fuzz::must_hold(file.find('\0') == std::string::npos, "a name ends where the system ends it");
    }
  });
  return 0;
}
