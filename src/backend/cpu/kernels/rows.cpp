#include "backend/cpu/kernels/rounding.h"

namespace jreg::backend::cpu::JREG_KERNEL_LEVEL {

namespace {

template <class T>
void rope_rows(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation,
               Range tokens) {
  std::int64_t const half = shape.head_size / 2;
  std::int64_t const heads = shape.heads + shape.kv_heads;
  auto const* const begins = static_cast<std::int32_t const*>(first.data);  // of the documents; null: 0
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    std::int64_t const begin = begins == nullptr ? 0 : begins[t];
    std::int64_t const position = t % shape.sequence - begin;
    float const* const c = row_of<float const>(rotation.cosine, position);
    float const* const s = row_of<float const>(rotation.sine, position);
    T* const row = row_of<T>(qkv, t);
    for (std::int64_t head = 0; head < heads; ++head) {
      T* const low = row + head * shape.head_size;
      T* const high = low + half;
#pragma omp simd
      for (std::int64_t i = 0; i < half; ++i) {
        float const a = load(low, i);
        float const b = load(high, i);
        store(low, i, a * c[i] - b * s[i]);
        store(high, i, b * c[i] + a * s[i]);
      }
    }
  }
}

template <class T> void swiglu_rows(Tensor const& gate_up, Tensor const& out, Range tokens) {
  std::int64_t const width = out.columns;
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    T const* const gate = row_of<T const>(gate_up, t);
    T const* const up = gate + width;
    T* const result = row_of<T>(out, t);
    for (std::int64_t begin = 0, end = 0; begin < width; begin = end) {
      end = width - begin > RoundedLater<T>::piece ? begin + RoundedLater<T>::piece : width;
      RoundedLater<T> results{result, begin};
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        float const g = load(gate, i);
        results.set(i, g / (1.0F + exponential(-g)) * load(up, i));
      }
      results.round(end);
    }
  }
}

template <class T, bool has_out>
void swiglu_backward_rows(Tensor const& gate_up, Tensor const& dout, Tensor const& out, Range tokens) {
  std::int64_t const width = dout.columns;
  for (std::int64_t t = tokens.begin; t < tokens.end; ++t) {
    T* const gate = row_of<T>(gate_up, t);
    T* const up = gate + width;
    T const* const gradient = row_of<T const>(dout, t);
    T* const result = has_out ? row_of<T>(out, t) : nullptr;
    for (std::int64_t begin = 0, end = 0; begin < width; begin = end) {
      end = width - begin > RoundedLater<T>::piece ? begin + RoundedLater<T>::piece : width;
      RoundedLater<T> results{result, begin};
      RoundedLater<T> gates{gate, begin};
      RoundedLater<T> ups{up, begin};
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        float const g = load(gate, i);
        float const u = load(up, i);
        float const d = load(gradient, i);
        float const sigmoid = 1.0F / (1.0F + exponential(-g));
        float const silu = g * sigmoid;
        if constexpr (has_out) results.set(i, silu * u);
        gates.set(i, d * u * (sigmoid + silu * (1.0F - sigmoid)));
        ups.set(i, d * silu);
      }
      if constexpr (has_out) results.round(end);
      gates.round(end);
      ups.round(end);
    }
  }
}

template <class T>
void embedding_backward_columns(Tensor const& tokens, Tensor const& dout, std::int64_t first_row, Tensor const& dtable,
                                Range columns) {
  auto const* const ids = static_cast<std::int32_t const*>(tokens.data);
  for (std::int64_t t = 0; t < dout.rows; ++t) {
    std::int64_t const row = ids[t] - first_row;
    if (row < 0 || row >= dtable.rows) continue;
    T const* const gradient = row_of<T const>(dout, t);
    float* const sum = row_of<float>(dtable, row);
#pragma omp simd
    for (std::int64_t i = columns.begin; i < columns.end; ++i) sum[i] += load(gradient, i);
  }
}

}  // namespace

void rope(AttentionShape const& shape, Tensor const& qkv, Tensor const& first, Rotation const& rotation, Range tokens) {
  if (qkv.dtype == DType::f32) {
    rope_rows<float>(shape, qkv, first, rotation, tokens);
  } else {
    rope_rows<bfloat16>(shape, qkv, first, rotation, tokens);
  }
}

void swiglu(Tensor const& gate_up, Tensor const& out, Range tokens) {
  if (gate_up.dtype == DType::f32) {
    swiglu_rows<float>(gate_up, out, tokens);
  } else {
    swiglu_rows<bfloat16>(gate_up, out, tokens);
  }
}

void swiglu_backward(Tensor const& gate_up, Tensor const& dout, Tensor const& out, Range tokens) {
  bool const has_out = out.data != nullptr;
  if (gate_up.dtype == DType::f32) {
    has_out ? swiglu_backward_rows<float, true>(gate_up, dout, out, tokens)
            : swiglu_backward_rows<float, false>(gate_up, dout, out, tokens);
  } else {
    has_out ? swiglu_backward_rows<bfloat16, true>(gate_up, dout, out, tokens)
            : swiglu_backward_rows<bfloat16, false>(gate_up, dout, out, tokens);
  }
}

void embedding_backward(Tensor const& tokens, Tensor const& dout, std::int64_t first_row, Tensor const& dtable,
                        Range columns) {
  if (dout.dtype == DType::f32) {
    embedding_backward_columns<float>(tokens, dout, first_row, dtable, columns);
  } else {
    embedding_backward_columns<bfloat16>(tokens, dout, first_row, dtable, columns);
  }
}

void to_bf16(float const* from, bfloat16* to, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) store(to, i, from[i]);
}

void to_f32(bfloat16 const* from, float* to, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) to[i] = load(from, i);
}

}  // namespace jreg::backend::cpu::JREG_KERNEL_LEVEL
