#include "backend/cpu/host_memory.h"

#include <sys/mman.h>

#include <cstdlib>

#include "base/error.h"

namespace jreg::backend::cpu {

namespace {

constexpr std::size_t cache_line = 64;
constexpr std::size_t huge_page = std::size_t{2} << 20;

}  // namespace

void* allocate_host(std::size_t bytes) {
  std::size_t const alignment = bytes >= huge_page ? huge_page : cache_line;
  std::size_t const rounded = (bytes / alignment + (bytes % alignment != 0 || bytes == 0 ? 1 : 0)) * alignment;
  void* const memory = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) {
    throw SystemError{fmt::format("cannot allocate {} MiB of memory", (bytes >> 20U) + 1)};
  }
  // Only a wish: without huge pages everything works, a little slower.
  if (alignment == huge_page) static_cast<void>(madvise(memory, rounded, MADV_HUGEPAGE));
  return memory;
}

void free_host(void* memory) noexcept {
  std::free(memory);
}

void* Scratch::reserve(std::size_t bytes) {
  if (bytes > bytes_) {
    memory_ = {};
    bytes_ = 0;
    memory_ = UniqueHandle<HostMemoryTraits>{allocate_host(bytes)};
    bytes_ = bytes;
  }
  return memory_.get();
}

}  // namespace jreg::backend::cpu
