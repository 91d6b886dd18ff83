#pragma once

#include <cstdint>

#include "base/bfloat16.h"
#include "base/dtype.h"
#include "base/expect.h"

namespace jreg::backend {

template <class T> constexpr DType dtype_of();
template <> constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <> constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <> constexpr DType dtype_of<bfloat16>() {
  return DType::bf16;
}
template <> constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}
template <> constexpr DType dtype_of<std::int64_t>() {
  return DType::i64;
}

/// A view of a row-major matrix in a backend's memory; owns nothing. A vector is one row.
/// `stride` counts elements from one row to the next (>= columns).
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;

  Tensor() = default;
  Tensor(void* memory, DType type, std::int64_t row_count, std::int64_t column_count)
      : data{memory}, dtype{type}, rows{row_count}, columns{column_count}, stride{column_count} {}

  explicit operator bool() const noexcept { return data != nullptr; }
  std::int64_t size() const noexcept { return rows * columns; }
  bool contiguous() const noexcept { return stride == columns || rows <= 1; }
  std::int64_t bytes() const noexcept { return size() * static_cast<std::int64_t>(size_of(dtype)); }

  /// The elements as T; a wrong type is a broken invariant.
  template <class T> T* as() const {
    expect(dtype == dtype_of<T>(), "tensor is read as the type it holds");
    return static_cast<T*>(data);
  }

  /// Rows [begin, end).
  Tensor row_range(std::int64_t begin, std::int64_t end) const {
    expect(0 <= begin && begin <= end && end <= rows, "row range lies inside the tensor");
    Tensor view = *this;
    view.data = at(begin * stride);
    view.rows = end - begin;
    return view;
  }
  /// Columns [begin, end), same rows.
  Tensor column_range(std::int64_t begin, std::int64_t end) const {
    expect(0 <= begin && begin <= end && end <= columns, "column range lies inside the tensor");
    Tensor view = *this;
    view.data = at(begin);
    view.columns = end - begin;
    return view;
  }
  /// The same contiguous elements as another shape.
  Tensor reshaped(std::int64_t row_count, std::int64_t column_count) const {
    expect(contiguous() && row_count * column_count == size(), "reshape keeps the number of elements");
    return {data, dtype, row_count, column_count};
  }

private:
  void* at(std::int64_t element) const noexcept {
    return static_cast<char*>(data) + element * static_cast<std::int64_t>(size_of(dtype));
  }
};

}  // namespace jreg::backend
