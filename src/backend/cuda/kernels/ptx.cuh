#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

// What kernels need of the instruction set beyond CUDA C++ (PTX ISA 7.0, sm_80). Fragments are those of
// mma.m16n8k16: with g = lane / 4 and q = lane % 4,
//   a (16 x 16): a[0] = (g, 2q..2q+1), a[1] = (g+8, 2q..), a[2] = (g, 2q+8..), a[3] = (g+8, 2q+8..)
//   b (16 x 8):  b[0] = (2q..2q+1, g), b[1] = (2q+8.., g)
//   d (16 x 8):  d[0], d[1] = (g, 2q), (g, 2q+1); d[2], d[3] = (g+8, 2q), (g+8, 2q+1)
// each 32-bit register of a and b holding two bf16, the lower index in the lower half.

namespace jreg::backend::cuda {

/// The block's dynamic shared memory, aligned to 128 bytes.
__device__ inline unsigned char* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char jreg_dynamic_shared[];
  return jreg_dynamic_shared;
}

/// d += a b; bf16 factors, f32 sums. All lanes of the warp call it together.
__device__ inline void mma_bf16(float (&d)[4], std::uint32_t const (&a)[4], std::uint32_t const (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four 8 x 8 matrices of 16-bit elements from shared memory: lane i points to 16 bytes, row i % 8 of matrix i / 8.
/// In r[m] lane l receives elements (l / 4, 2 (l % 4)) and its right neighbour of matrix m.
__device__ inline void load_matrix_x4(std::uint32_t (&r)[4], void const* shared) {
  auto const address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// The same, each matrix transposed: lane l receives elements (2 (l % 4), l / 4) and the one below.
__device__ inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], void const* shared) {
  auto const address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// Begins to copy 16 bytes, past the registers and the L1 cache; zeros where `there` is false (nothing is read then).
/// Both addresses are multiples of 16.
__device__ inline void copy_async_16(void* shared, void const* global, bool there = true) {
  auto const address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  int const bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}
/// Copies begun by this thread so far form a group.
__device__ inline void copy_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most `groups` of this thread's groups are still under way; then a barrier makes them seen by others.
template <int groups> __device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(groups) : "memory");
}

/// 2^x to 2 ulp.
__device__ inline float exp2_approximate(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace jreg::backend::cuda
