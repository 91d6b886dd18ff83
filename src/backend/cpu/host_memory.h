#pragma once

#include <cstddef>

#include "base/handle.h"

namespace jreg::backend::cpu {

/// Memory aligned to 64 bytes, or to 2 MiB with huge pages asked for from 2 MiB on; free with free_host().
/// Throws SystemError when there is not enough.
void* allocate_host(std::size_t bytes);
void free_host(void* memory) noexcept;

struct HostMemoryTraits {
  using Raw = void*;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { free_host(raw); }
};

/// Working memory that grows to the largest size asked for and then stays.
class Scratch {
public:
  /// At least `bytes`, contents undefined; earlier pointers end with growth.
  void* reserve(std::size_t bytes);

private:
  UniqueHandle<HostMemoryTraits> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace jreg::backend::cpu
