#include "backend/cuda/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <source_location>

#include "backend/argument_checks.h"
#include "backend/cuda/kernels/product.h"
#include "base/error.h"
#include "base/log.h"

namespace jreg::backend::cuda {
namespace {

std::string text_of(ProductShape const& shape) {
  return fmt::format("({} x {}){} times ({} x {}){} of {} into {}{}, strides {} {} {}",
                     shape.a_transposed ? shape.inner : shape.rows, shape.a_transposed ? shape.rows : shape.inner,
                     shape.a_transposed ? " transposed" : "", shape.b_transposed ? shape.columns : shape.inner,
                     shape.b_transposed ? shape.inner : shape.columns, shape.b_transposed ? " transposed" : "",
                     name_of(shape.factors), name_of(shape.result), shape.accumulate ? ", added" : "", shape.a_stride,
                     shape.b_stride, shape.c_stride);
}

/// Whether another start may help: the GPU or the driver failed, and not this program.
bool is_transient(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_INITIALIZED || status == CUBLAS_STATUS_ALLOC_FAILED ||
         status == CUBLAS_STATUS_EXECUTION_FAILED;
}

void check(cublasStatus_t status, ProductShape const& shape,
           std::source_location where = std::source_location::current()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw SystemError{fmt::format("cuBLASLt: product {}: {}", text_of(shape), cublasLtGetStatusString(status)),
                    is_transient(status) ? ExitCode::retry : ExitCode::internal, where};
}

cudaDataType_t type_of(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// The largest power of two up to 256 that the address is a multiple of.
std::uint32_t alignment_of(void const* memory) {
  constexpr std::uintptr_t largest = 256;
  auto const address = reinterpret_cast<std::uintptr_t>(memory) | largest;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// A row-major matrix of rows x columns is a column-major one of columns x rows.
UniqueHandle<MatrixLayoutTraits> layout_of(ProductShape const& shape, DType dtype, std::int64_t rows,
                                           std::int64_t columns, std::int64_t stride) {
  cublasLtMatrixLayout_t raw = nullptr;
  check(cublasLtMatrixLayoutCreate(&raw, type_of(dtype), static_cast<std::uint64_t>(columns),
                                   static_cast<std::uint64_t>(rows), stride),
        shape);
  return UniqueHandle<MatrixLayoutTraits>{raw};
}

struct PreferenceTraits {
  using Raw = cublasLtMatmulPreference_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cublasLtMatmulPreferenceDestroy(raw); }
};

ProductShape shape_of(Tensor const& a, bool a_transposed, Tensor const& b, bool b_transposed, Tensor const& c,
                      bool accumulate) {
  std::int64_t const inner = a_transposed ? a.rows : a.columns;
  return {a.dtype,
          c.dtype,
          c.rows,
          c.columns,
          inner,
          a_transposed,
          b_transposed,
          a.stride,
          b.stride,
          c.stride,
          alignment_of(a.data),
          alignment_of(b.data),
          alignment_of(c.data),
          accumulate};
}

}  // namespace

MatrixProducts::MatrixProducts(void* workspace, std::size_t bytes) : workspace_{workspace}, workspace_bytes_{bytes} {
  cublasLtHandle_t raw = nullptr;
  cublasStatus_t const status = cublasLtCreate(&raw);
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw SystemError{fmt::format("cuBLASLt: begin: {}", cublasLtGetStatusString(status)), ExitCode::retry};
  }
  library_ = UniqueHandle<ProductLibraryTraits>{raw};
}

MatrixProducts::~MatrixProducts() = default;

void MatrixProducts::choose_algorithm(ProductShape const& shape, Plan& plan) const {
  cublasLtMatmulPreference_t raw = nullptr;
  check(cublasLtMatmulPreferenceCreate(&raw), shape);
  UniqueHandle<PreferenceTraits> const preference{raw};
  auto const set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof value), shape);
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace_bytes_));
  // Parts of a sum are added in fp32 in a fixed order; the other schemes would round them to the result's type.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.b_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.a_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.c_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.c_alignment);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  cublasStatus_t const status =
      cublasLtMatmulAlgoGetHeuristic(library_.get(), plan.description.get(), plan.left.get(), plan.right.get(),
                                     plan.result.get(), plan.result.get(), raw, 1, &found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return;
  check(status, shape);
  if (count == 0 || found.state != CUBLAS_STATUS_SUCCESS || found.workspaceSize > workspace_bytes_) return;
  plan.algorithm = found.algo;
  plan.by_library = true;
}

MatrixProducts::Plan MatrixProducts::make_plan(ProductShape const& shape) const {
  Plan plan;
  // Row-major c = a b is column-major c' = b' a', where ' only names how the memory is read.
  cublasLtMatmulDesc_t raw = nullptr;
  check(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), shape);
  plan.description = UniqueHandle<ProductDescriptionTraits>{raw};
  cublasOperation_t const left = shape.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasOperation_t const right = shape.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left), shape);
  check(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right), shape);
  plan.left = layout_of(shape, shape.factors, shape.b_transposed ? shape.columns : shape.inner,
                        shape.b_transposed ? shape.inner : shape.columns, shape.b_stride);
  plan.right = layout_of(shape, shape.factors, shape.a_transposed ? shape.inner : shape.rows,
                         shape.a_transposed ? shape.rows : shape.inner, shape.a_stride);
  plan.result = layout_of(shape, shape.result, shape.rows, shape.columns, shape.c_stride);
  choose_algorithm(shape, plan);
  constexpr double noticeable = 1e9;  // multiply-adds
  double const work = static_cast<double>(shape.rows) * static_cast<double>(shape.columns);
  if (log::rank() == 0 && !plan.by_library && work * static_cast<double>(shape.inner) > noticeable) {
    log::warning(
        "cuBLASLt has no algorithm for the product {}: a plain kernel does it, slowly. Sizes that are multiples "
        "of 8 on every rank are fast",
        text_of(shape));
  }
  return plan;
}

MatrixProducts::Plan const& MatrixProducts::plan_for(ProductShape const& shape) {
  auto at = plans_.find(shape);
  if (at == plans_.end()) at = plans_.emplace(shape, make_plan(shape)).first;
  return at->second;
}

void MatrixProducts::multiply(Context const& context, Tensor const& a, bool a_transposed, Tensor const& b,
                              bool b_transposed, Tensor const& c, bool accumulate) {
  check_product(a, a_transposed, b, b_transposed, c);
  ProductShape const shape = shape_of(a, a_transposed, b, b_transposed, c, accumulate);
  if (c.size() == 0) return;
  Plan const& plan = plan_for(shape);
  if (!plan.by_library) {
    Factor const left{a.data, a_transposed ? 1 : a.stride, a_transposed ? a.stride : 1};
    Factor const right{b.data, b_transposed ? 1 : b.stride, b_transposed ? b.stride : 1};
    product(context, shape.factors, left, right, shape.inner, c, accumulate);
    return;
  }
  float const one = 1;
  float const beta = accumulate ? 1 : 0;
  check(cublasLtMatmul(library_.get(), plan.description.get(), &one, b.data, plan.left.get(), a.data, plan.right.get(),
                       &beta, c.data, plan.result.get(), c.data, plan.result.get(), &plan.algorithm, workspace_,
                       workspace_bytes_, context.stream),
        shape);
}

}  // namespace jreg::backend::cuda
