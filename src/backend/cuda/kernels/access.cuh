#pragma once

#include <cstdint>
#include <cstring>

#include "backend/cuda/kernels/element.cuh"

// Matrices as kernels see them, and accesses to them with hints for the caches.

namespace jreg::backend::cuda {

/// Rows of a matrix in device memory; data is null where the tensor is absent.
template <class T> struct Rows {
  T* data = nullptr;
  std::int64_t stride = 0;

  __device__ T* row(std::int64_t index) const { return data + index * stride; }
};

template <class T> Rows<T> rows_of(Tensor const& tensor) {
  return {static_cast<T*>(tensor.data), tensor.stride};
}

/// The widest access, in elements of T, that all of these tensors allow for: full_width<T> or 1.
template <class T, class... Tensors> int common_width(Tensors const&... tensors) {
  return (allows_width(tensors, full_width<T>) && ...) ? full_width<T> : 1;
}

template <int bytes> struct WordOf;
template <> struct WordOf<2> { using Type = unsigned short; };
template <> struct WordOf<4> { using Type = unsigned int; };
template <> struct WordOf<8> { using Type = uint2; };
template <> struct WordOf<16> { using Type = uint4; };

/// The words that a pack travels in: one of up to 16 bytes, or several of 16.
template <class T, int width> struct Words {
  static constexpr int bytes = static_cast<int>(sizeof(T)) * width;
  using Word = typename WordOf<(bytes < 16 ? bytes : 16)>::Type;
  static constexpr int count = bytes / static_cast<int>(sizeof(Word));
};

/// Loads what will not be read again soon: first to leave the caches.
template <class T, int width> __device__ Pack<T, width> load_streaming(T const* from) {
  using Word = typename Words<T, width>::Word;
  Word words[Words<T, width>::count];
#pragma unroll
  for (int i = 0; i < Words<T, width>::count; ++i) words[i] = __ldcs(reinterpret_cast<Word const*>(from) + i);
  Pack<T, width> pack;
  memcpy(&pack, words, sizeof(pack));
  return pack;
}

/// Loads what no thread writes while the kernel runs, and others will read again: weights of a norm.
template <class T, int width> __device__ Pack<T, width> load_constant(T const* from) {
  using Word = typename Words<T, width>::Word;
  Word words[Words<T, width>::count];
#pragma unroll
  for (int i = 0; i < Words<T, width>::count; ++i) words[i] = __ldg(reinterpret_cast<Word const*>(from) + i);
  Pack<T, width> pack;
  memcpy(&pack, words, sizeof(pack));
  return pack;
}

/// Stores what will not be read soon.
template <class T, int width> __device__ void store_streaming(T* to, Pack<T, width> const& pack) {
  using Word = typename Words<T, width>::Word;
  Word words[Words<T, width>::count];
  memcpy(words, &pack, sizeof(pack));
#pragma unroll
  for (int i = 0; i < Words<T, width>::count; ++i) __stcs(reinterpret_cast<Word*>(to) + i, words[i]);
}

template <class T, int width> __device__ Pack<T, width> zero_pack() {
  Pack<T, width> pack;
#pragma unroll
  for (int i = 0; i < width; ++i) pack.values[i] = from_float<T>(0.0F);
  return pack;
}

}  // namespace jreg::backend::cuda
