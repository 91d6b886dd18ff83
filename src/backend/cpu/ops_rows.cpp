// Operations on rows of tokens: norms, SwiGLU, embedding, cross entropy.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/shape_checks.h"

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

void check_angular(AngularGradient const& angular, Tensor const& hidden) {
  expect_token_row(angular.norm, hidden.rows, "norm of hidden states");
  if (angular.previous) {
    expect_activation(angular.previous, hidden, hidden.rows, hidden.columns, "previous hidden states");
    expect_token_row(angular.previous_norm, hidden.rows, "norm of previous hidden states");
    expect_token_row(angular.displacement, hidden.rows, "displacement");
  }
  if (angular.next) {
    expect_activation(angular.next, hidden, hidden.rows, hidden.columns, "next hidden states");
    expect_token_row(angular.next_norm, hidden.rows, "norm of next hidden states");
    expect_token_row(angular.next_displacement, hidden.rows, "next displacement");
  }
}

}  // namespace

void CpuOps::embedding(Tensor const& tokens, Tensor const& table, std::int64_t first_row, Tensor const& out) {
  expect_shape(tokens, 1, out.rows, "tokens of an embedding");
  expect_activation(out, table, out.rows, table.columns, "output of an embedding");
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
  expect_shape(tokens, 1, dout.rows, "tokens of an embedding");
  expect_equal(dtable.columns, dout.columns, "columns of an embedding's gradient");
  expect(tokens.dtype == DType::i32 && dtable.dtype == DType::f32, "embedding: int32 tokens and an fp32 gradient");
  // Columns are shared out, so that each sum runs in token order.
  parallel_ranges(dout.columns, 16,
                  [&](Range columns) { kernels_.embedding_backward(tokens, dout, first_row, dtable, columns); });
}

void CpuOps::residual_norm(ResidualNorm const& args) {
  std::int64_t const tokens = args.residual.rows;
  std::int64_t const columns = args.residual.columns;
  expect_activation(args.residual, args.residual, tokens, columns, "residual");
  if (args.delta) {
    expect_activation(args.delta, args.residual, tokens, columns, "delta");
    expect_activation(args.hidden, args.residual, tokens, columns, "hidden");
  }
  if (args.gain) {
    expect_activation(args.gain, args.residual, 1, columns, "gain");
    expect_activation(args.normed, args.residual, tokens, columns, "normed");
    expect_token_row(args.rstd, tokens, "rstd");
  }
  if (args.angular.norm) {
    expect_token_row(args.angular.norm, tokens, "norm of hidden states");
    if (args.previous) {
      expect_activation(args.previous, args.residual, tokens, columns, "previous hidden states");
      expect_token_row(args.previous_norm, tokens, "norm of previous hidden states");
      expect_token_row(args.angular.displacement, tokens, "displacement");
      expect_token_row(args.angular.update_norm, tokens, "update norm");
    }
  }
  parallel_ranges(tokens, row_grain(columns), [&](Range range) { kernels_.residual_norm(args, range); });
}

void CpuOps::norm_again(Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  expect_activation(gain, hidden, 1, hidden.columns, "gain");
  expect_activation(normed, hidden, hidden.rows, hidden.columns, "normed");
  expect_token_row(rstd, hidden.rows, "rstd");
  parallel_ranges(hidden.rows, row_grain(hidden.columns),
                  [&](Range range) { kernels_.norm_again(hidden, gain, rstd, normed, range); });
}

void CpuOps::norm_backward(NormBackward const& args) {
  std::int64_t const tokens = args.hidden_gradient.rows;
  std::int64_t const columns = args.hidden_gradient.columns;
  if (!args.normed_gradient && !args.has_angular && !args.overwrite) return;
  expect_activation(args.hidden, args.hidden_gradient, tokens, columns, "hidden");
  if (args.has_angular) check_angular(args.angular, args.hidden);
  if (!args.normed_gradient) {
    parallel_ranges(tokens, row_grain(columns), [&](Range range) { kernels_.norm_backward(args, nullptr, range); });
    return;
  }
  expect_activation(args.normed_gradient, args.hidden, tokens, columns, "normed gradient");
  expect_activation(args.gain, args.hidden, 1, columns, "gain");
  expect_token_row(args.rstd, tokens, "rstd");
  expect_token_row(args.gain_gradient, columns, "gain gradient");
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
  expect_activation(gate_up, out, out.rows, 2 * out.columns, "gate and up");
  parallel_ranges(out.rows, row_grain(out.columns), [&](Range range) { kernels_.swiglu(gate_up, out, range); });
}

void CpuOps::swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  expect_activation(gate_up, dout, dout.rows, 2 * dout.columns, "gate and up");
  if (out) expect_activation(out, dout, dout.rows, dout.columns, "SwiGLU output");
  parallel_ranges(dout.rows, row_grain(dout.columns),
                  [&](Range range) { kernels_.swiglu_backward(gate_up, dout, out, range); });
}

void CpuOps::logits_max(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum) {
  expect_token_row(maximum, logits.rows, "largest logit");
  expect(logits.dtype == DType::f32, "logits are fp32");
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(columns),
                  [&](Range range) { kernels_.logits_max(logits, columns, maximum, range); });
}

void CpuOps::logits_sum(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                        Tensor const& targets, Tensor const& sums) {
  expect_token_row(maximum, logits.rows, "largest logit");
  expect_shape(targets, 1, logits.rows, "targets");
  expect_shape(sums, 2, logits.rows, "sums of logits");
  expect(logits.dtype == DType::f32 && sums.dtype == DType::f32 && targets.dtype == DType::i32,
         "logits and sums are fp32, targets int32");
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(columns),
                  [&](Range range) { kernels_.logits_sum(logits, first, columns, maximum, targets, sums, range); });
}

void CpuOps::logits_gradient(Tensor const& logits, std::int64_t first, std::int64_t vocab, Tensor const& maximum,
                             Tensor const& sums, Tensor const& targets, float scale, Tensor const& gradient) {
  expect_token_row(maximum, logits.rows, "largest logit");
  expect_shape(targets, 1, logits.rows, "targets");
  expect_shape(sums, 2, logits.rows, "sums of logits");
  expect(logits.dtype == DType::f32 && sums.dtype == DType::f32 && targets.dtype == DType::i32,
         "logits and sums are fp32, targets int32");
  expect_shape(gradient, logits.rows, logits.columns, "gradient of logits");
  expect(gradient.dtype == DType::f32 || (gradient.dtype == DType::bf16 && gradient.data != logits.data),
         "the gradient of logits is fp32, or bf16 elsewhere");
  std::int64_t const columns = real_columns(logits, first, vocab);
  parallel_ranges(logits.rows, row_grain(logits.columns), [&](Range range) {
    kernels_.logits_gradient(logits, first, columns, maximum, sums, targets, scale, gradient, range);
  });
}

void CpuOps::add_token_losses(Tensor const& sums, Tensor const& loss) {
  expect_equal(sums.rows, 2, "rows of the sums of logits");
  auto const* const exponentials = sums.as<float>();
  float const* const targets = exponentials + sums.stride;
  double total = 0;
  for (std::int64_t t = 0; t < sums.columns; ++t) {
    total += std::log(static_cast<double>(exponentials[t])) - static_cast<double>(targets[t]);
  }
  *loss.as<double>() += total;
}

}  // namespace jreg::backend::cpu
