#include "backend/backend.h"

#include <utility>

namespace jreg::backend {

Buffer::Buffer(Backend& backend, std::size_t bytes)
    : backend_{&backend}, data_{backend.allocate(bytes)}, bytes_{bytes} {}

Buffer::Buffer(Backend& backend, std::size_t bytes, std::string const& what) try : Buffer{backend, bytes} {
} catch (OutOfMemory const& error) {
  throw OutOfMemory{error, what};
}

Buffer::Buffer(Buffer&& from) noexcept
    : backend_{std::exchange(from.backend_, nullptr)},
      data_{std::exchange(from.data_, nullptr)},
      bytes_{std::exchange(from.bytes_, 0)} {}

Buffer& Buffer::operator=(Buffer from) noexcept {
  std::swap(backend_, from.backend_);
  std::swap(data_, from.data_);
  std::swap(bytes_, from.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) backend_->deallocate(data_, bytes_);
}

}  // namespace jreg::backend
