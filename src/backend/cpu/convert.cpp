#include "backend/cpu/convert.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/parallel.h"

namespace jreg::backend::cpu {

namespace {

/// Elements a thread should at least have.
constexpr std::int64_t grain = 16384;

void convert_row(KernelTable const& kernels, Tensor const& from, Tensor const& to, std::int64_t row, Range columns) {
  std::int64_t const source = row * from.stride + columns.begin;
  std::int64_t const target = row * to.stride + columns.begin;
  std::int64_t const count = columns.end - columns.begin;
  if (from.dtype == to.dtype) {
    std::size_t const width = size_of(from.dtype);
    std::memmove(static_cast<char*>(to.data) + static_cast<std::size_t>(target) * width,
                 static_cast<char const*>(from.data) + static_cast<std::size_t>(source) * width,
                 static_cast<std::size_t>(count) * width);
  } else if (from.dtype == DType::f32) {
    kernels.to_bf16(from.as<float>() + source, to.as<bfloat16>() + target, count);
  } else {
    kernels.to_f32(from.as<bfloat16>() + source, to.as<float>() + target, count);
  }
}

}  // namespace

void convert(KernelTable const& kernels, Tensor const& from, Tensor const& to) {
  if (from.contiguous() && to.contiguous()) {
    Tensor const source = from.reshaped(1, from.size());
    Tensor const target = to.reshaped(1, to.size());
    parallel_ranges(from.size(), grain, [&](Range range) { convert_row(kernels, source, target, 0, range); });
    return;
  }
  parallel_ranges(from.rows, std::max<std::int64_t>(1, grain / std::max<std::int64_t>(1, from.columns)),
                  [&](Range rows) {
                    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
                      convert_row(kernels, from, to, row, Range{0, from.columns});
                    }
                  });
}

}  // namespace jreg::backend::cpu
