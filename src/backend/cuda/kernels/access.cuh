#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

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
/// `instead` in the place of an absent tensor: addresses are computed, but nothing is read or written there.
template <class T> Rows<T> rows_of(Tensor const& tensor, Tensor const& instead) {
  return rows_of<T>(tensor ? tensor : instead);
}

/// The widest access, in elements of T, that all of these tensors allow for: full_width<T> or 1.
template <class T, class... Tensors> int common_width(Tensors const&... tensors) {
  return (allows_width(tensors, full_width<T>) && ...) ? full_width<T> : 1;
}

/// `width` neighbouring elements as they lie in memory: whole 32-bit registers, which stay packed until they are used.
template <class T, int width> struct Raw {
  static constexpr int bytes = static_cast<int>(sizeof(T)) * width;
  using Word = std::conditional_t<(bytes < 4), unsigned short, unsigned>;
  static constexpr int count = bytes / static_cast<int>(sizeof(Word));
  Word words[count];
};

/// The same as numbers.
template <int width> struct Floats { float values[width]; };

template <int width> __device__ Floats<width> to_floats(Raw<float, width> const& raw) {
  Floats<width> floats;
#pragma unroll
  for (int i = 0; i < width; ++i) floats.values[i] = __uint_as_float(raw.words[i]);
  return floats;
}
/// A bf16 is the upper half of a float; the first of two lies in the lower half of a word.
template <int width> __device__ Floats<width> to_floats(Raw<Bf16, width> const& raw) {
  Floats<width> floats;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    unsigned const word = raw.words[i / 2];
    floats.values[i] = __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000U);
  }
  return floats;
}

template <class T, int width> __device__ Raw<T, width> to_raw(Floats<width> const& floats) {
  Raw<T, width> raw;
  if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
    for (int i = 0; i < width; ++i) raw.words[i] = __float_as_uint(floats.values[i]);
  } else if constexpr (width == 1) {
    raw.words[0] = __bfloat16_as_ushort(__float2bfloat16_rn(floats.values[0]));
  } else {
#pragma unroll
    for (int i = 0; i < width; i += 2) {
      __nv_bfloat162 const pair = __floats2bfloat162_rn(floats.values[i], floats.values[i + 1]);
      memcpy(&raw.words[i / 2], &pair, sizeof(pair));
    }
  }
  return raw;
}

/// The words of one access: 16 bytes, or fewer where a pack has fewer.
template <int bytes> struct AccessOf { using Type = uint4; };
template <> struct AccessOf<2> { using Type = unsigned short; };
template <> struct AccessOf<4> { using Type = unsigned; };
template <> struct AccessOf<8> { using Type = uint2; };

/// Hints for the caches. Stores are named in full (write-back is the default): the compiler takes others apart.
enum class Reuse {
  soon,      // stays in the caches as long as they like
  never,     // first to leave the caches
  constant,  // loads alone: no thread writes it while the kernel runs, and many read it
};

template <class T, int width, Reuse reuse = Reuse::soon> __device__ Raw<T, width> load(T const* from) {
  using Access = typename AccessOf<Raw<T, width>::bytes>::Type;
  Raw<T, width> raw;
#pragma unroll
  for (int i = 0; i < Raw<T, width>::bytes / static_cast<int>(sizeof(Access)); ++i) {
    Access const* const at = reinterpret_cast<Access const*>(from) + i;
    Access access;
    if constexpr (reuse == Reuse::never) {
      access = __ldcs(at);
    } else if constexpr (reuse == Reuse::constant) {
      access = __ldg(at);
    } else {
      access = *at;
    }
    memcpy(raw.words + i * (sizeof(Access) / sizeof(raw.words[0])), &access, sizeof(access));
  }
  return raw;
}

template <Reuse reuse = Reuse::soon, class T, int width> __device__ void store(T* to, Raw<T, width> const& raw) {
  using Access = typename AccessOf<Raw<T, width>::bytes>::Type;
#pragma unroll
  for (int i = 0; i < Raw<T, width>::bytes / static_cast<int>(sizeof(Access)); ++i) {
    Access* const at = reinterpret_cast<Access*>(to) + i;
    Access access;
    if constexpr (sizeof(Access) == 16) {
      access = make_uint4(raw.words[4 * i], raw.words[4 * i + 1], raw.words[4 * i + 2], raw.words[4 * i + 3]);
    } else {
      memcpy(&access, raw.words, sizeof(access));
    }
    if constexpr (reuse == Reuse::never) {
      __stcs(at, access);
    } else {
      __stwb(at, access);
    }
  }
}

}  // namespace jreg::backend::cuda
