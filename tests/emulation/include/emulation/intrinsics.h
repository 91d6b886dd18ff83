#pragma once

#include <cuda_bf16.h>

#include <math.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulation/block.h"

// Functions that CUDA C++ has built in, as far as kernels use them.

// Barriers and fences.
inline void __syncthreads(std::source_location where = std::source_location::current()) {
  emulation::block_barrier(where);
}
inline void __syncwarp(unsigned mask = 0xffffffffU) {
  char nothing = 0;
  emulation::warp_exchange("__syncwarp", mask, &nothing, [](void* const(&)[32]) {});
}
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace emulation {

template <class T> struct Shuffle {
  T value;
  int source;  // lane
  T result;
};

template <class T> T shuffle(char const* kind, unsigned mask, T value, int source) {
  static_assert(std::is_trivially_copyable_v<T>);
  Shuffle<T> mine{value, source, value};
  warp_exchange(kind, mask, &mine, [](void* const(&lanes)[warp_size]) {
    for (void* const lane : lanes) {
      if (lane == nullptr) continue;
      auto& self = *static_cast<Shuffle<T>*>(lane);
      void* const other = lanes[self.source];
      if (other == nullptr) kernel_error("a shuffle reads lane %d, which takes no part", self.source);
      self.result = static_cast<Shuffle<T>*>(other)->value;
    }
  });
  return mine.result;
}

}  // namespace emulation

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  int const base = emulation::lane() / width * width;
  return emulation::shuffle("__shfl_sync", mask, value, base + (source & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
  int const self = emulation::lane();
  int const source = self ^ with;
  return emulation::shuffle("__shfl_xor_sync", mask, value, source / width > self / width ? self : source);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  int const self = emulation::lane();
  int const source = self + static_cast<int>(by);
  return emulation::shuffle("__shfl_down_sync", mask, value, source / width == self / width ? source : self);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  int const self = emulation::lane();
  int const source = self - static_cast<int>(by);
  return emulation::shuffle("__shfl_up_sync", mask, value, source >= self / width * width ? source : self);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  struct Vote {
    int predicate;
    unsigned result;
  } mine{predicate, 0};
  emulation::warp_exchange("__ballot_sync", mask, &mine, [](void* const(&lanes)[32]) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) {
      if (lanes[i] != nullptr && static_cast<Vote*>(lanes[i])->predicate != 0) votes |= 1U << static_cast<unsigned>(i);
    }
    for (void* const lane : lanes) {
      if (lane != nullptr) static_cast<Vote*>(lane)->result = votes;
    }
  });
  return mine.result;
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
inline unsigned __activemask() {
  return 0xffffffffU;
}

// Atomics: threads take turns at barriers and exchanges only.
template <class T> T atomicAdd(T* to, std::type_identity_t<T> value) {
  T const before = *to;
  *to = before + value;
  return before;
}
template <class T> T atomicMax(T* to, std::type_identity_t<T> value) {
  T const before = *to;
  *to = std::max(before, value);
  return before;
}
template <class T> T atomicMin(T* to, std::type_identity_t<T> value) {
  T const before = *to;
  *to = std::min(before, value);
  return before;
}
template <class T> T atomicExch(T* to, std::type_identity_t<T> value) {
  T const before = *to;
  *to = value;
  return before;
}
template <class T> T atomicCAS(T* to, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  T const before = *to;
  if (before == expected) *to = value;
  return before;
}

// Accesses with hints.
template <class T> T __ldg(T const* from) {
  return *from;
}
template <class T> T __ldcs(T const* from) {
  return *from;
}
template <class T> T __ldcg(T const* from) {
  return *from;
}
template <class T> T __ldca(T const* from) {
  return *from;
}
template <class T> void __stcs(T* to, std::type_identity_t<T> value) {
  *to = value;
}
template <class T> void __stcg(T* to, std::type_identity_t<T> value) {
  *to = value;
}

// Mathematics.
inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}
inline float rsqrtf(float x) {
  return 1.0F / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline float __frcp_rn(float x) {
  return 1.0F / x;
}
inline float __frsqrt_rn(float x) {
  return rsqrtf(x);
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return std::fma(x, y, z);
}
inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline float __saturatef(float x) {
  return std::min(std::max(x, 0.0F), 1.0F);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
template <class A, class B>
requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  std::common_type_t<A, B> const x = static_cast<std::common_type_t<A, B>>(a);
  std::common_type_t<A, B> const y = static_cast<std::common_type_t<A, B>>(b);
  return y < x ? y : x;
}
template <class A, class B>
requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  std::common_type_t<A, B> const x = static_cast<std::common_type_t<A, B>>(a);
  std::common_type_t<A, B> const y = static_cast<std::common_type_t<A, B>>(b);
  return x < y ? y : x;
}
