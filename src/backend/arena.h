#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "backend/backend.h"
#include "backend/tensor.h"

namespace jreg::backend {

/// Hands out tensors from one buffer, one after another, each aligned to 64 bytes.
class Placer {
public:
  Tensor tensor(DType dtype, std::int64_t rows, std::int64_t columns);
  /// Both place tensors in the same memory, as those of the one and of the other are never needed together.
  void overlay(std::function<void()> const& one, std::function<void()> const& other);

private:
  friend class Arena;
  explicit Placer(char* base) : base_{base} {}
  char* base_;  // null while measuring
  std::size_t used_ = 0;
};

/// One allocation for many tensors whose sizes are known beforehand.
class Arena {
public:
  Arena() = default;
  /// Calls `place` twice: once to measure, once to hand out the memory. It must ask for the same tensors both times.
  /// `what` it holds ("activations") is named where there is not enough memory.
  Arena(Backend& backend, std::function<void(Placer&)> const& place, std::string const& what = "tensors");

  std::size_t bytes() const noexcept { return buffer_.bytes(); }

private:
  Buffer buffer_;
};

}  // namespace jreg::backend
