#include "launches.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <tuple>

// Of the sanitizers' runtime; absent where the build has none of them.
extern "C" __attribute__((weak)) void __sanitizer_symbolize_pc(void* place, char const* format, char* text,
                                                               std::size_t size);

namespace emulation {
namespace {

/// "" where the name cannot be told.
std::array<char, 2048> name_of(void const* kernel) {
  std::array<char, 2048> text{};
  // One byte into the kernel: the runtime takes what it is given for the address behind a call.
  void* const place = static_cast<char*>(const_cast<void*>(kernel)) + 1;
  if (__sanitizer_symbolize_pc != nullptr) __sanitizer_symbolize_pc(place, "%f", text.data(), text.size());
  return text;
}

}  // namespace

void record_launch(cudaLaunchConfig_t const& config, void const* kernel) {
  char const* const path = std::getenv("JREG_EMULATED_LAUNCHES");
  if (path == nullptr) return;
  static std::mutex mutex;
  static std::set<std::tuple<void const*, unsigned, std::size_t>> known;
  unsigned const threads = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  std::scoped_lock const lock{mutex};
  if (!known.emplace(kernel, threads, config.dynamicSmemBytes).second) return;
  std::FILE* const file = std::fopen(path, "a");
  if (file == nullptr) return;
  std::fprintf(file, "%u %zu %s\n", threads, config.dynamicSmemBytes, name_of(kernel).data());
  std::fclose(file);
}

}  // namespace emulation
