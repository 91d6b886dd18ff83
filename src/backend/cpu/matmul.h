#pragma once

#include <dnnl.hpp>

#include <array>
#include <cstdint>
#include <unordered_map>

#include "backend/cpu/host_memory.h"
#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu {

/// A factor of a matrix product, perhaps transposed.
struct Factor {
  Tensor const& tensor;
  bool transposed = false;

  std::int64_t rows() const { return transposed ? tensor.columns : tensor.rows; }
  std::int64_t columns() const { return transposed ? tensor.rows : tensor.columns; }
};

/// Matrix products through oneDNN. The primitives for bf16 are kept, one for each shape met, and so is their working
/// memory: a product that was computed before allocates nothing.
class MatrixProducts {
public:
  explicit MatrixProducts(KernelTable const& kernels);

  /// c = a b, or c += a b. Factors are both f32 or both bf16; c is of that type or f32. Sums are f32.
  void multiply(Factor a, Factor b, Tensor const& c, bool accumulate);

private:
  /// (m, n, k, strides of a, b, c; transposes, accumulate and type of c as bits)
  using Key = std::array<std::int64_t, 7>;
  struct KeyHash {
    std::size_t operator()(Key const& key) const noexcept;
  };
  struct Product {
    dnnl::matmul primitive;
    std::unordered_map<int, dnnl::memory> arguments;
    std::size_t scratch_bytes = 0;
  };

  Product make_product(Factor a, Factor b, Tensor const& c, bool accumulate) const;
  void multiply_f32(Factor a, Factor b, Tensor const& c, bool accumulate);
  void multiply_bf16(Factor a, Factor b, Tensor const& c, bool accumulate);
  void multiply_bf16_as_f32(Factor a, Factor b, Tensor const& c, bool accumulate);

  KernelTable const& kernels_;
  bool bf16_runs_;  // the processor has what oneDNN needs to be fast at bf16
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::unordered_map<Key, Product, KeyHash> products_;
  Scratch scratch_;
  std::array<Scratch, 3> converted_;
};

}  // namespace jreg::backend::cpu
