#pragma once

#include <cstddef>
#include <cstdint>

namespace jreg {

/// Element types of tensors.
enum class DType : std::uint8_t { f32, bf16, f64, i32, i64 };

constexpr std::size_t size_of(DType type) noexcept {
  switch (type) {
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
  }
  return 0;
}

constexpr char const* name_of(DType type) noexcept {
  switch (type) {
    case DType::bf16:
      return "bf16";
    case DType::f32:
      return "fp32";
    case DType::f64:
      return "fp64";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
  }
  return "?";
}

}  // namespace jreg
