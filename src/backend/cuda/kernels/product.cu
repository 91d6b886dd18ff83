#include "backend/cuda/kernels/product.h"

#include "backend/cuda/kernels/element.cuh"
#include "backend/cuda/launch.h"

namespace jreg::backend::cuda {
namespace {

constexpr int tile = 64;   // rows and columns of c that a block computes
constexpr int depth = 16;  // of the inner index at a time
constexpr int side = 4;    // rows and columns of c that a thread computes
constexpr int across = tile / side;
constexpr int threads = across * across;
constexpr int pitch = tile + 1;  // of the tiles in shared memory: a column of them then meets different banks

struct Product {
  Factor a;
  Factor b;
  void* c = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t inner = 0;
  std::int64_t stride = 0;  // of c
  bool accumulate = false;
};

/// to[k][i] = element (first + i, inner + k) of a matrix `outer` x `depth_end`; zero outside. Neighbouring threads read
/// neighbouring elements whichever way the matrix lies.
template <class T>
__device__ void load_tile(float (&to)[depth][pitch], T const* from, std::int64_t outer_step, std::int64_t inner_step,
                          std::int64_t first, std::int64_t outer, std::int64_t inner, std::int64_t inner_end) {
  int const thread = static_cast<int>(threadIdx.x);
  bool const inner_first = inner_step == 1;
#pragma unroll
  for (int piece = 0; piece < tile * depth / threads; ++piece) {
    int const index = thread + piece * threads;
    int const i = inner_first ? index / depth : index % tile;
    int const k = inner_first ? index % depth : index / tile;
    std::int64_t const row = first + i;
    std::int64_t const column = inner + k;
    bool const inside = row < outer && column < inner_end;
    to[k][i] = inside ? to_float(from[row * outer_step + column * inner_step]) : 0.0F;
  }
}

// Block b computes tile (b / tiles along the columns, b % tiles); thread t the elements (t / 16 + 16 i, t % 16 + 16 j).
template <class In, class Out> __global__ void __launch_bounds__(threads) product_kernel(Product args) {
  __shared__ float a_tile[depth][pitch];
  __shared__ float b_tile[depth][pitch];
  std::int64_t const tiles = (args.columns + tile - 1) / tile;
  std::int64_t const first_row = static_cast<std::int64_t>(blockIdx.x) / tiles * tile;
  std::int64_t const first_column = static_cast<std::int64_t>(blockIdx.x) % tiles * tile;
  int const y = static_cast<int>(threadIdx.x) / across;
  int const x = static_cast<int>(threadIdx.x) % across;

  float sums[side][side] = {};
  for (std::int64_t k = 0; k < args.inner; k += depth) {
    load_tile(a_tile, static_cast<In const*>(args.a.data), args.a.row, args.a.column, first_row, args.rows, k,
              args.inner);
    load_tile(b_tile, static_cast<In const*>(args.b.data), args.b.column, args.b.row, first_column, args.columns, k,
              args.inner);
    __syncthreads();
#pragma unroll
    for (int step = 0; step < depth; ++step) {
      float left[side];
      float right[side];
#pragma unroll
      for (int i = 0; i < side; ++i) left[i] = a_tile[step][y + across * i];
#pragma unroll
      for (int j = 0; j < side; ++j) right[j] = b_tile[step][x + across * j];
#pragma unroll
      for (int i = 0; i < side; ++i) {
#pragma unroll
        for (int j = 0; j < side; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < side; ++i) {
    std::int64_t const row = first_row + y + across * i;
    if (row >= args.rows) continue;
#pragma unroll
    for (int j = 0; j < side; ++j) {
      std::int64_t const column = first_column + x + across * j;
      if (column >= args.columns) continue;
      Out* const element = static_cast<Out*>(args.c) + row * args.stride + column;
      *element = from_float<Out>(args.accumulate ? to_float(*element) + sums[i][j] : sums[i][j]);
    }
  }
}

template <class In, class Out> void start(Context const& context, Product const& args) {
  std::int64_t const blocks = groups_of(tile, args.rows) * groups_of(tile, args.columns);
  expect(blocks <= largest_grid_x, "a product has no more tiles than a grid has blocks");
  launch(product_kernel<In, Out>, dim3(static_cast<unsigned>(blocks)), dim3(threads), 0, context.stream, args);
}

}  // namespace

void product(Context const& context, DType factors, Factor const& a, Factor const& b, std::int64_t inner,
             Tensor const& c, bool accumulate) {
  if (c.size() == 0) return;
  Product const args{a, b, c.data, c.rows, c.columns, inner, c.stride, accumulate};
  if (factors == DType::f32) {
    expect(c.dtype == DType::f32, "a product of fp32 is fp32");
    start<float, float>(context, args);
  } else if (c.dtype == DType::f32) {
    start<Bf16, float>(context, args);
  } else {
    expect(factors == DType::bf16 && c.dtype == DType::bf16, "a product is of fp32 or bf16");
    start<Bf16, Bf16>(context, args);
  }
}

}  // namespace jreg::backend::cuda
