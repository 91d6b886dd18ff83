#pragma once

#include <cstddef>
#include <functional>

namespace jreg::backend::cuda {

/// Working memory of the operations on one stream, which take turns with it: it grows to the largest size asked for
/// and then stays.
class Workspace {
public:
  /// `allocate` and `deallocate` are the backend's, which counts what is in use.
  Workspace(std::function<void*(std::size_t)> allocate, std::function<void(void*, std::size_t)> deallocate)
      : allocate_{std::move(allocate)}, deallocate_{std::move(deallocate)} {}
  Workspace(Workspace const&) = delete;
  Workspace& operator=(Workspace const&) = delete;
  ~Workspace() { release(); }

  /// At least `bytes`, aligned to 256, contents undefined; the operation that asked owns it until the next one asks.
  void* reserve(std::size_t bytes);
  std::size_t bytes() const noexcept { return bytes_; }

private:
  void release() noexcept;

  std::function<void*(std::size_t)> allocate_;
  std::function<void(void*, std::size_t)> deallocate_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace jreg::backend::cuda
