#include "backend/cuda/workspace.h"

#include <utility>

namespace jreg::backend::cuda {

void* Workspace::reserve(std::size_t bytes) {
  if (bytes > bytes_) {
    release();
    memory_ = allocate_(bytes);
    bytes_ = bytes;
  }
  return memory_;
}

void Workspace::release() noexcept {
  if (memory_ != nullptr) deallocate_(std::exchange(memory_, nullptr), std::exchange(bytes_, 0));
}

}  // namespace jreg::backend::cuda
