// Operations on rows of tokens: norms, SwiGLU, embedding, cross entropy.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/argument_checks.h"
#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/parallel.h"

namespace jreg::backend::cpu {

namespace {

/// Rows a thread should at least have, so that starting it pays.
std::int64_t row_grain(std::int64_t columns) {
  return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, columns));
}

/// Columns of [first, first + columns) that are no padding.
std::int64_t real_columns(Tensor const& logits, std::int64_t first, std::int64_t vocab) {
  return std::clamp<std::int64_t>(vocab - first, 0, logits.columns);
}

}  // namespace

void CpuOps::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  check_embedding(tokens, table, out);
  auto const* const ids = tokens.as<std::int32_t>();
  std::size_t const width = static_cast<std::size_t>(table.columns) * size_of(table.dtype);
  parallel_ranges(out.rows, row_grain(out.columns), [&](Range range) {
    for (std::int64_t t = range.begin; t < range.end; ++t) {
      std::int64_t const row = ids[t] - first_row;
      void* const target = out.row_range(t, t + 1).data;
      if (row >= 0 && row < table.rows) {
        std::memcpy(target, table.row_range(row, row + 1).data, width);
      } else {
        std::memset(target, 0, width);
      }
    }
  });
}

void CpuOps::embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                                Tensor const& dtable) {
  check_embedding_backward(tokens, dout, dtable);
  // Columns are shared out, so that each sum runs in token order.
  parallel_ranges(dout.columns, 16,
                  [&](Range columns) { kernels_.embedding_backward(tokens, dout, first_row, dtable, columns); });
}

void CpuOps::residual_norm(ResidualNorm const& args) {
  check_residual_norm(args);
  parallel_ranges(args.residual.rows, row_grain(args.residual.columns),
                  [&](Range range) { kernels_.residual_norm(args, range); });
}

void CpuOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  check_norm_again(hidden, gain, rstd, normed);
  parallel_ranges(hidden.rows, row_grain(hidden.columns),
                  [&](Range range) { kernels_.norm_again(hidden, gain, rstd, normed, range); });
}

void CpuOps::norm_backward(NormBackward const& args) {
  std::int64_t const tokens = args.hidden_gradient.rows;
  std::int64_t const columns = args.hidden_gradient.columns;
  if (!args.normed_gradient && !args.has_angular && !args.overwrite) return;
  check_norm_backward(args);
  if (!args.normed_gradient) {
    parallel_ranges(tokens, row_grain(columns), [&](Range range) { kernels_.norm_backward(args, nullptr, range); });
    return;
  }
  std::int64_t const chunks = (tokens + gain_chunk - 1) / gain_chunk;
  std::size_t const row_bytes = static_cast<std::size_t>(columns) * sizeof(float);
  auto* const partials = static_cast<float*>(scratch_.reserve(static_cast<std::size_t>(chunks) * row_bytes));
  parallel_ranges(chunks, 1, [&](Range range) {
    for (std::int64_t chunk = range.begin; chunk < range.end; ++chunk) {
      float* const partial = partials + chunk * columns;
      std::memset(partial, 0, row_bytes);
      kernels_.norm_backward(args, partial, Range{chunk * gain_chunk, std::min(tokens, (chunk + 1) * gain_chunk)});
    }
  });
  auto* const gain_gradient = args.gain_gradient.as<float>();
  parallel_ranges(columns, 512,
                  [&](Range range) { kernels_.add_partials(partials, chunks, columns, gain_gradient, range); });
}

void CpuOps::swiglu(Tensor const& gate_up, Tensor const& out) {
  check_swiglu(gate_up, out);
  parallel_ranges(out.rows, row_grain(out.columns), [&](Range range) { kernels_.swiglu(gate_up, out, range); });
}

void CpuOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  check_swiglu_backward(gate_up, dout, out);
  parallel_ranges(dout.rows, row_grain(dout.columns),
                  [&](Range range) { kernels_.swiglu_backward(gate_up, dout, out, range); });
}

void CpuOps::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  check_logits_max(logits, maximum);
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(columns),
                  [&](Range range) { kernels_.logits_max(logits, columns, maximum, range); });
}

void CpuOps::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                        Tensor const& targets, Tensor const& sums) {
  check_logits_sum(logits, maximum, targets, sums);
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(columns),
                  [&](Range range) { kernels_.logits_sum(logits, first, columns, maximum, targets, sums, range); });
}

void CpuOps::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                             Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) {
  check_logits_gradient(logits, maximum, sums, targets, gradient);
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(logits.columns), [&](Range range) {
    kernels_.logits_gradient(logits, first, columns, maximum, sums, targets, scale, gradient, range);
  });
}

void CpuOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  check_add_token_losses(sums, loss);
  auto const* const exponentials = sums.as<float>();
  float const* const targets = exponentials + sums.stride;
  double total = 0;
  for (std::int64_t t = 0; t < sums.columns; ++t) {
    total += std::log(static_cast<double>(exponentials[t])) - static_cast<double>(targets[t]);
  }
  *loss.as<double>() += total;
}

}  // namespace jreg::backend::cpu
