// The calls of cuBLASLt that the backend makes, on the software device: column-major products as documented, in plain
// loops, with more checks of what is passed than the library has.
#include <cublasLt.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "device_memory.h"
#include "emulation/stream.h"

struct cublasLtContext {};

namespace emulation {
namespace {

struct Layout {
  cudaDataType_t type;
  std::uint64_t rows;
  std::uint64_t columns;
  std::int64_t stride;  // elements from one column to the next
};
struct Description {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t left = CUBLAS_OP_N;
  cublasOperation_t right = CUBLAS_OP_N;
};
struct Preference {
  std::uint64_t workspace = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of a, b, c, d
};

Layout const& of(cublasLtMatrixLayout_t handle) {
  return *reinterpret_cast<Layout const*>(handle);
}
Description& of(cublasLtMatmulDesc_t handle) {
  return *reinterpret_cast<Description*>(handle);
}
Preference& of(cublasLtMatmulPreference_t handle) {
  return *reinterpret_cast<Preference*>(handle);
}

cublasStatus_t refuse(char const* why) {
  std::fprintf(stderr, "software device: cuBLASLt refuses: %s\n", why);
  return CUBLAS_STATUS_INVALID_VALUE;
}

std::size_t width_of(cudaDataType_t type) {
  return type == CUDA_R_16BF ? 2 : 4;
}

/// What a product is apart from its numbers; an algorithm is good for the one it was chosen for.
struct Problem {
  Layout a, b, c, d;
  cublasOperation_t left, right;
  std::uint64_t rows, columns, inner;
};

Problem problem_of(Description const& description, Layout const& a, Layout const& b, Layout const& c, Layout const& d) {
  bool const transposed = description.left == CUBLAS_OP_T;
  return {a,
          b,
          c,
          d,
          description.left,
          description.right,
          transposed ? a.columns : a.rows,
          description.right == CUBLAS_OP_T ? b.rows : b.columns,
          transposed ? a.rows : a.columns};
}

/// Null, or why the sizes and types do not go together.
char const* mistake_of(Description const& description, Problem const& p) {
  if (description.compute != CUBLAS_COMPUTE_32F || description.scale != CUDA_R_32F) return "not fp32 sums";
  if (p.a.type != p.b.type || (p.a.type != CUDA_R_16BF && p.a.type != CUDA_R_32F)) return "types of the factors";
  if (p.d.type != CUDA_R_32F && p.d.type != p.a.type) return "type of the result";
  if (p.c.type != p.d.type) return "c and d have different types";
  if (p.rows == 0 || p.columns == 0 || p.inner == 0) return "an empty product";
  if ((p.right == CUBLAS_OP_T ? p.b.columns : p.b.rows) != p.inner) return "inner sizes differ";
  if (p.d.rows != p.rows || p.d.columns != p.columns || p.c.rows != p.rows || p.c.columns != p.columns) {
    return "size of the result";
  }
  for (Layout const& layout : {p.a, p.b, p.c, p.d}) {
    if (layout.stride < static_cast<std::int64_t>(layout.rows)) return "a leading dimension below the rows";
  }
  return nullptr;
}

/// Tensor cores read 16 bytes at a time; fp32 goes by elements.
bool has_algorithm(Problem const& p, Preference const& preference) {
  if (p.a.type == CUDA_R_32F) return true;
  Layout const layouts[] = {p.a, p.b, p.c, p.d};
  for (int i = 0; i < 4; ++i) {
    if (preference.alignment[i] < 16 || layouts[i].stride * width_of(layouts[i].type) % 16 != 0) return false;
  }
  return true;
}

/// Long sums are cut into pieces that meet in the workspace.
std::size_t workspace_of(Problem const& p) {
  return p.inner >= 64 ? std::size_t{1} << 20U : 0;
}

std::uint64_t signature_of(Problem const& p) {
  std::uint64_t hash = 14695981039346656037ULL;
  auto const add = [&](std::uint64_t value) { hash = (hash ^ value) * 1099511628211ULL; };
  for (Layout const& layout : {p.a, p.b, p.c, p.d}) {
    for (std::uint64_t const value : {static_cast<std::uint64_t>(layout.type), layout.rows, layout.columns,
                                      static_cast<std::uint64_t>(layout.stride)}) {
      add(value);
    }
  }
  add(static_cast<std::uint64_t>(p.left));
  add(static_cast<std::uint64_t>(p.right));
  return hash;
}

float read(void const* memory, cudaDataType_t type, std::int64_t index) {
  if (type == CUDA_R_16BF) return __bfloat162float(static_cast<__nv_bfloat16 const*>(memory)[index]);
  return static_cast<float const*>(memory)[index];
}
void write(void* memory, cudaDataType_t type, std::int64_t index, float value) {
  if (type == CUDA_R_16BF) {
    static_cast<__nv_bfloat16*>(memory)[index] = __float2bfloat16_rn(value);
  } else {
    static_cast<float*>(memory)[index] = value;
  }
}

/// d = alpha op(a) op(b) + beta c; column-major.
void multiply(Problem const& p, float alpha, void const* a, void const* b, float beta, void const* c, void* d) {
  std::vector<float> left(p.rows * p.inner);  // row by row
  for (std::uint64_t i = 0; i < p.rows; ++i) {
    for (std::uint64_t k = 0; k < p.inner; ++k) {
      left[i * p.inner + k] = read(a, p.a.type, p.left == CUBLAS_OP_T ? k + i * p.a.stride : i + k * p.a.stride);
    }
  }
  std::vector<float> column(p.inner);
  for (std::uint64_t j = 0; j < p.columns; ++j) {
    for (std::uint64_t k = 0; k < p.inner; ++k) {
      column[k] = read(b, p.b.type, p.right == CUBLAS_OP_T ? j + k * p.b.stride : k + j * p.b.stride);
    }
    for (std::uint64_t i = 0; i < p.rows; ++i) {
      float sum = 0;
      float const* const row = left.data() + i * p.inner;
      for (std::uint64_t k = 0; k < p.inner; ++k) sum += row[k] * column[k];
      // Where beta is zero, c is not read: it may be NaN.
      float const before = beta == 0 ? 0 : beta * read(c, p.c.type, i + j * p.c.stride);
      write(d, p.d.type, i + j * p.d.stride, alpha * sum + before);
    }
  }
}

std::uint32_t alignment_of(void const* memory) {
  auto const address = reinterpret_cast<std::uintptr_t>(memory);
  return static_cast<std::uint32_t>(address % 16 == 0 ? 16 : address & (~address + 1));
}

}  // namespace
}  // namespace emulation

using namespace emulation;

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
std::size_t cublasLtGetVersion() {
  return CUBLAS_VERSION;
}
char const* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "a failure of the software device";
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t stride) {
  *handle = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  delete reinterpret_cast<Layout*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *handle = reinterpret_cast<cublasLtMatmulDesc_t>(new Description{compute, scale});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  delete reinterpret_cast<Description*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              void const* value, std::size_t bytes) {
  cublasOperation_t operation{};
  if (bytes != sizeof operation) return refuse("size of an attribute");
  std::memcpy(&operation, value, bytes);
  if (operation != CUBLAS_OP_N && operation != CUBLAS_OP_T) return refuse("an operation on a factor");
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) {
    of(handle).left = operation;
  } else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) {
    of(handle).right = operation;
  } else {
    return refuse("an attribute of a product that the software device does not know");
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
  *handle = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  delete reinterpret_cast<Preference*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, void const* value,
                                                    std::size_t bytes) {
  auto const set = [&](auto& to) {
    if (bytes != sizeof to) return refuse("size of an attribute");
    std::memcpy(&to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(of(handle).workspace);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(of(handle).reductions);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(of(handle).alignment[0]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(of(handle).alignment[1]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(of(handle).alignment[2]);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(of(handle).alignment[3]);
    default:
      return refuse("a preference that the software device does not know");
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  if (asked < 1) return refuse("no algorithm is asked for");
  Problem const problem = problem_of(of(description), of(a), of(b), of(c), of(d));
  if (char const* const mistake = mistake_of(of(description), problem)) return refuse(mistake);
  // Pieces of sums may only meet in fp32.
  if ((of(preference).reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (workspace_of(problem) > of(preference).workspace || !has_algorithm(problem, of(preference))) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  *results = {};
  results->state = CUBLAS_STATUS_SUCCESS;
  results->workspaceSize = workspace_of(problem);
  results->algo.data[0] = signature_of(problem);
  std::uint64_t alignments = 0;
  for (std::uint32_t const alignment : of(preference).alignment) {
    alignments = alignments << 16U | std::min<std::uint32_t>(alignment, 16);
  }
  results->algo.data[1] = alignments;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, void const* alpha, void const* a,
                              cublasLtMatrixLayout_t a_layout, void const* b, cublasLtMatrixLayout_t b_layout,
                              void const* beta, void const* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, cublasLtMatmulAlgo_t const* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  Problem const problem = problem_of(of(description), of(a_layout), of(b_layout), of(c_layout), of(d_layout));
  if (char const* const mistake = mistake_of(of(description), problem)) return refuse(mistake);
  if (algorithm == nullptr || algorithm->data[0] != signature_of(problem)) return refuse("another product's algorithm");
  void const* const addresses[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (alignment_of(addresses[i]) < (algorithm->data[1] >> (16U * static_cast<unsigned>(3 - i)) & 0xffffU)) {
      return refuse("an address less aligned than the algorithm was chosen for");
    }
    if (alignment_of(addresses[i]) < width_of(problem.a.type)) return refuse("an address inside an element");
  }
  std::size_t const needed = workspace_of(problem);
  if (needed > workspace_bytes || (needed != 0 && place_of(workspace) != Place::device)) return refuse("workspace");
  float scales[2];
  std::memcpy(&scales[0], alpha, sizeof(float));
  std::memcpy(&scales[1], beta, sizeof(float));
  enqueue(stream, [=] {
    if (needed != 0) std::memset(workspace, 0xff, needed);  // whoever kept something there loses it
    multiply(problem, scales[0], a, b, scales[1], c, d);
    return true;
  });
  return CUBLAS_STATUS_SUCCESS;
}
