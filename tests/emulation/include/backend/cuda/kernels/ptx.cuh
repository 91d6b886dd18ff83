#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

// What src/backend/cuda/kernels/ptx.cuh offers, on the software device: the same fragments (PTX ISA 7.0,
// "Matrix Fragments for mma.m16n8k16"), computed from the operands of all lanes.

namespace jreg::backend::cuda {

namespace emulated {

inline float low_half(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16U);
}
inline float high_half(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000U);
}

struct Product {
  float* d;
  std::uint32_t const* a;
  std::uint32_t const* b;
};

inline void multiply(void* const (&lanes)[32]) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    auto const& mine = *static_cast<Product const*>(lanes[lane]);
    int const group = lane / 4;
    int const pair = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      int const row = group + i % 2 * 8;
      int const column = pair + i / 2 * 8;
      a[row][column] = low_half(mine.a[i]);
      a[row][column + 1] = high_half(mine.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[pair + i * 8][group] = low_half(mine.b[i]);
      b[pair + i * 8 + 1][group] = high_half(mine.b[i]);
    }
  }
  float product[16][8] = {};
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) product[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* const d = static_cast<Product const*>(lanes[lane])->d;
    for (int i = 0; i < 4; ++i) d[i] += product[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

struct MatrixLoad {
  std::uint32_t* r;
  unsigned char const* row;
};

inline std::uint32_t element(void* const (&lanes)[32], int matrix, int row, int column) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, static_cast<MatrixLoad const*>(lanes[matrix * 8 + row])->row + column * 2, 2);
  return bits;
}

template <bool transposed> void load(void* const (&lanes)[32]) {
  for (int lane = 0; lane < 32; ++lane) {
    int const row = lane / 4;
    int const column = lane % 4 * 2;
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::uint32_t const low = transposed ? element(lanes, matrix, column, row) : element(lanes, matrix, row, column);
      std::uint32_t const high =
          transposed ? element(lanes, matrix, column + 1, row) : element(lanes, matrix, row, column + 1);
      static_cast<MatrixLoad const*>(lanes[lane])->r[matrix] = low | high << 16U;
    }
  }
}

template <bool transposed> void load_matrices(char const* kind, std::uint32_t (&r)[4], void const* shared) {
  auto const* const row = static_cast<unsigned char const*>(shared);
  auto const offset = row - emulation::shared_memory();
  if (offset < 0 || static_cast<std::size_t>(offset) + 16 > emulation::shared_memory_bytes() || offset % 16 != 0) {
    emulation::kernel_error("%s reads shared byte %td of %zu", kind, offset, emulation::shared_memory_bytes());
  }
  MatrixLoad mine{r, row};
  emulation::warp_exchange(kind, 0xffffffffU, &mine, load<transposed>);
}

}  // namespace emulated

inline unsigned char* dynamic_shared() {
  return emulation::shared_memory();
}

inline void mma_bf16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2]) {
  emulated::Product mine{d, a, b};
  emulation::warp_exchange("mma.m16n8k16", 0xffffffffU, &mine, emulated::multiply);
}

inline void load_matrix_x4(std::uint32_t (&r)[4], void const* shared) {
  emulated::load_matrices<false>("ldmatrix.x4", r, shared);
}
inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], void const* shared) {
  emulated::load_matrices<true>("ldmatrix.x4.trans", r, shared);
}

inline void copy_async_16(void* shared, void const* global, bool there = true) {
  emulation::copy_async(shared, global, there);
}
inline void copy_async_commit() {
  emulation::copy_async_commit();
}
template <int groups> void copy_async_wait() {
  emulation::copy_async_wait(groups);
}

inline float exp2_approximate(float x) {
  return std::exp2(x);
}

}  // namespace jreg::backend::cuda
