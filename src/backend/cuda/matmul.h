#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>

#include "backend/cuda/context.h"
#include "backend/ops.h"
#include "base/handle.h"

namespace jreg::backend::cuda {

struct ProductLibraryTraits {
  using Raw = cublasLtHandle_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cublasLtDestroy(raw); }
};
struct ProductDescriptionTraits {
  using Raw = cublasLtMatmulDesc_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cublasLtMatmulDescDestroy(raw); }
};
struct MatrixLayoutTraits {
  using Raw = cublasLtMatrixLayout_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cublasLtMatrixLayoutDestroy(raw); }
};

/// What a product is apart from its numbers: sizes, types, how the matrices lie.
struct ProductShape {
  DType factors = DType::f32;
  DType result = DType::f32;
  std::int64_t rows = 0;     // of c
  std::int64_t columns = 0;  // of c
  std::int64_t inner = 0;
  bool a_transposed = false;
  bool b_transposed = false;
  std::int64_t a_stride = 0;
  std::int64_t b_stride = 0;
  std::int64_t c_stride = 0;
  std::uint32_t a_alignment = 0;  // bytes, a power of two
  std::uint32_t b_alignment = 0;
  std::uint32_t c_alignment = 0;
  bool accumulate = false;

  friend auto operator<=>(ProductShape const&, ProductShape const&) = default;
};

/// Matrix products on one stream, through cuBLASLt where it has an algorithm for how the matrices lie, else through
/// kernels/product.h. What runs depends on the shape alone, never on a measured time: the same call gives the same
/// bits.
class MatrixProducts {
public:
  /// `bytes` of working memory at `workspace`, which outlives this.
  MatrixProducts(void* workspace, std::size_t bytes);
  MatrixProducts(MatrixProducts const&) = delete;
  MatrixProducts& operator=(MatrixProducts const&) = delete;
  ~MatrixProducts();

  /// c = a b, or c += a b; row-major, a factor perhaps transposed. Factors are both f32 or both bf16; c is of that type
  /// or f32. Sums are f32; f32 factors are not rounded to a shorter type. Throws SystemError naming the shape.
  void multiply(Context const& context, Tensor const& a, bool a_transposed, Tensor const& b, bool b_transposed,
                Tensor const& c, bool accumulate);

private:
  /// How a product of one shape is done.
  struct Plan {
    bool by_library = false;  // else cuBLASLt has no algorithm for it
    UniqueHandle<ProductDescriptionTraits> description;
    UniqueHandle<MatrixLayoutTraits> left;  // as cuBLASLt sees them: column-major, so the second factor comes first
    UniqueHandle<MatrixLayoutTraits> right;
    UniqueHandle<MatrixLayoutTraits> result;
    cublasLtMatmulAlgo_t algorithm{};
  };

  Plan const& plan_for(ProductShape const& shape);
  Plan make_plan(ProductShape const& shape) const;
  void choose_algorithm(ProductShape const& shape, Plan& plan) const;

  UniqueHandle<ProductLibraryTraits> library_;
  void* workspace_;
  std::size_t workspace_bytes_;
  std::map<ProductShape, Plan> plans_;
};

}  // namespace jreg::backend::cuda
