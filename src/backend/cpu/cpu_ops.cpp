#include "backend/cpu/cpu_ops.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "backend/argument_checks.h"
#include "backend/cpu/convert.h"
#include "backend/cpu/parallel.h"

namespace jreg::backend::cpu {

namespace {

/// Elements of one partial sum: a constant, so that sums do not depend on the number of threads.
constexpr std::int64_t sum_chunk = 65536;
constexpr std::int64_t token_chunk = 1024;
constexpr std::int64_t element_grain = 16384;

}  // namespace

CpuOps::CpuOps(KernelTable const& kernels) : kernels_{kernels}, products_{kernels} {}

void CpuOps::linear(Tensor const& x, Tensor const& w, Tensor const& y) {
  products_.multiply({x}, {w, true}, y, false);
}

void CpuOps::linear_input_gradient(Tensor const& dy, Tensor const& w, Tensor const& dx, bool accumulate) {
  products_.multiply({dy}, {w}, dx, accumulate);
}

void CpuOps::linear_weight_gradient(Tensor const& dy, Tensor const& x, Tensor const& dw) {
  check_weight_gradient(dw);
  products_.multiply({dy, true}, {x}, dw, true);
}

void CpuOps::add_angular_sums(AngularRows const& rows, Tensor const& previous_norm, Tensor const& sums) {
  check_add_angular_sums(rows, previous_norm, sums);
  std::int64_t const tokens = rows.norm.columns;
  std::int64_t const chunks = (tokens + token_chunk - 1) / token_chunk;
  using Sums = std::array<double, angular_sums>;
  auto* const partials = static_cast<Sums*>(scratch_.reserve(static_cast<std::size_t>(chunks) * sizeof(Sums)));
  parallel_ranges(chunks, 1, [&](Range range) {
    for (std::int64_t chunk = range.begin; chunk < range.end; ++chunk) {
      partials[chunk].fill(0);
      kernels_.angular_sums(rows, previous_norm, partials[chunk].data(),
                            Range{chunk * token_chunk, std::min(tokens, (chunk + 1) * token_chunk)});
    }
  });
  auto* const totals = sums.as<double>();
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::size_t i = 0; i < partials[chunk].size(); ++i) totals[i] += partials[chunk][i];
  }
}

void CpuOps::add_histogram(Tensor const& displacement, Tensor const& counts) {
  check_add_histogram(displacement, counts);
  auto const* const values = displacement.as<float>();
  auto* const bins = counts.as<std::int64_t>();
  std::int64_t const last = counts.columns - 1;
  for (std::int64_t t = 0; t < displacement.columns; ++t) {
    // Not a number lands in no bin.
    if (!(values[t] >= 0 && values[t] <= 1)) continue;
    ++bins[std::min(last, static_cast<std::int64_t>(values[t] * static_cast<float>(counts.columns)))];
  }
}

void CpuOps::adamw(AdamW const& args) {
  check_adamw(args);
  parallel_ranges(args.weight.columns, element_grain, [&](Range range) { kernels_.adamw(args, range); });
}

void CpuOps::add_squares(Tensor const& values, Tensor const& sum) {
  check_add_squares(values, sum);
  auto const* const numbers = values.as<float>();
  std::int64_t const count = values.size();
  std::int64_t const chunks = (count + sum_chunk - 1) / sum_chunk;
  auto* const partials = static_cast<double*>(scratch_.reserve(static_cast<std::size_t>(chunks) * sizeof(double)));
  parallel_ranges(chunks, 1, [&](Range range) {
    for (std::int64_t chunk = range.begin; chunk < range.end; ++chunk) {
      partials[chunk] = kernels_.squares(numbers, Range{chunk * sum_chunk, std::min(count, (chunk + 1) * sum_chunk)});
    }
  });
  double total = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk];
  *sum.as<double>() += total;
}

void CpuOps::zero(Tensor const& values) {
  std::size_t const width = size_of(values.dtype);
  if (values.contiguous()) {
    auto* const bytes = static_cast<char*>(values.data);
    parallel_ranges(values.size(), element_grain, [&](Range range) {
      std::memset(bytes + static_cast<std::size_t>(range.begin) * width, 0,
                  static_cast<std::size_t>(range.end - range.begin) * width);
    });
    return;
  }
  for (std::int64_t row = 0; row < values.rows; ++row) {
    std::memset(values.row_range(row, row + 1).data, 0, static_cast<std::size_t>(values.columns) * width);
  }
}

void CpuOps::copy(Tensor const& from, Tensor const& to) {
  check_copy(from, to);
  convert(kernels_, from, to);
}

}  // namespace jreg::backend::cpu
