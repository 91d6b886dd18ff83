#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/norm.h"
#include "backend/cuda/kernels/pieces.cuh"

// dgain is a sum over all tokens: blocks take runs of rows, one after another, and keep the sums of their columns;
// these are written to the workspace, and a second kernel adds them up. Runs depend on the GPU alone, not on its
// timing.

namespace jreg::backend::cuda {
namespace {

constexpr float tiny_norm = 1e-12F;
/// Rows that a block treats at a time where a warp is enough for one.
constexpr int rows_of_warps = 4;
constexpr int block_threads(int warps) {
  return (warps == 1 ? rows_of_warps : warps) * warp_size;
}
/// Threads that a multiprocessor holds at least: 80 registers for each, or 128 where they have two packs.
constexpr int resident_threads(int packs) {
  return packs == 1 ? 768 : 512;
}
/// Fewer rows than this in a run make more of the sums than of the rows.
constexpr std::int64_t shortest_run = 4;
constexpr int loop_warps = 8;
constexpr int loop_threads = loop_warps * warp_size;

/// NormBackward as kernels read it.
template <class T> struct Backward {
  bool has_norm;
  Rows<T const> dy;
  Rows<T const> hidden;
  T const* gain;
  float const* rstd;
  Rows<T> dh;
  bool overwrite;
  bool has_previous;
  bool has_next;
  float const* norm;
  Rows<T const> previous;
  float const* previous_norm;
  float const* displacement;
  Rows<T const> next;
  float const* next_norm;
  float const* next_displacement;
  float coefficient;
  float next_coefficient;
  std::int64_t rows;
  std::int64_t columns;
};

/// What one token's hidden gradient is made of: dh += rstd gain dy + own h + previous h_{l-1} + next h_{l+1}.
struct Factors {
  float rstd = 0;
  float own = 0;
  float previous = 0;
  float next = 0;
};

/// What is known of one token. Loads do not wait for one another.
struct Token {
  float rstd, norm, previous_norm, displacement, next_norm, next_displacement;
};
template <class T> __device__ Token token_of(Backward<T> const& args, std::int64_t row) {
  bool const angular = args.has_previous || args.has_next;
  return {.rstd = args.has_norm ? args.rstd[row] : 0.0F,
          .norm = angular ? args.norm[row] : 0.0F,
          .previous_norm = args.has_previous ? args.previous_norm[row] : 0.0F,
          .displacement = args.has_previous ? args.displacement[row] : 0.0F,
          .next_norm = args.has_next ? args.next_norm[row] : 0.0F,
          .next_displacement = args.has_next ? args.next_displacement[row] : 0.0F};
}

/// `dot`: the sum of gain dy h. Written so that a NaN in a norm is not taken for a small one.
template <class T> __device__ Factors factors_of(Backward<T> const& args, Token const& token, float dot) {
  Factors factors{.rstd = token.rstd};
  factors.own = -token.rstd * token.rstd * token.rstd * dot / static_cast<float>(args.columns);
  if (token.norm < tiny_norm) return factors;
  if (args.has_previous && !(token.previous_norm < tiny_norm)) {
    float const half = 0.5F * args.coefficient / token.norm;
    factors.previous = -half / token.previous_norm;
    factors.own += half * (1 - 2 * token.displacement) / token.norm;
  }
  if (args.has_next && !(token.next_norm < tiny_norm)) {
    float const half = 0.5F * args.next_coefficient / token.norm;
    factors.next = -half / token.next_norm;
    factors.own += half * (1 - 2 * token.next_displacement) / token.norm;
  }
  return factors;
}

template <class T, int width>
__device__ float dot_with_gain(Raw<T, width> const& gain, Raw<T, width> const& dy, Raw<T, width> const& hidden) {
  Floats<width> const g = to_floats(gain);
  Floats<width> const y = to_floats(dy);
  Floats<width> const h = to_floats(hidden);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < width; ++i) sum += g.values[i] * y.values[i] * h.values[i];
  return sum;
}

/// sum += factor * values.
template <class T, int width>
__device__ void add_scaled(Floats<width>& sum, float factor, Raw<T, width> const& values) {
  Floats<width> const v = to_floats(values);
#pragma unroll
  for (int i = 0; i < width; ++i) sum.values[i] += factor * v.values[i];
}

/// sum += factor * a * b.
template <class T, int width>
__device__ void add_product(Floats<width>& sum, float factor, Raw<T, width> const& a, Raw<T, width> const& b) {
  Floats<width> const x = to_floats(a);
  Floats<width> const y = to_floats(b);
#pragma unroll
  for (int i = 0; i < width; ++i) sum.values[i] += factor * x.values[i] * y.values[i];
}

/// Sums of the columns of this block's rows, one row of `partials` per block. Warps that treated rows of their own take
/// turns in shared memory.
template <int width, int warps, int packs>
__device__ void write_partials(Floats<width> (&sums)[packs], float* partials, int columns) {
  constexpr int threads = warps * warp_size;
  int const first = static_cast<int>(threadIdx.x) % threads * width;
  if constexpr (warps == 1) {
    __shared__ float together[threads * packs * width];
    int const group = static_cast<int>(threadIdx.x) / threads;
    for (int turn = 0; turn < rows_of_warps; ++turn) {
      if (turn == group) {
#pragma unroll
        for (int p = 0; p < packs; ++p) {
#pragma unroll
          for (int i = 0; i < width; ++i) {
            // By lane, not by column: neighbouring threads use neighbouring words.
            float& sum = together[(p * width + i) * threads + first / width];
            sum = turn == 0 ? sums[p].values[i] : sum + sums[p].values[i];
            sums[p].values[i] = sum;
          }
        }
      }
      __syncthreads();
    }
    if (group != rows_of_warps - 1) return;
  }
  float* const target = partials + static_cast<std::int64_t>(blockIdx.x) * columns + first;
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    int const at = p * threads * width;
    if (first + at < columns) store(target + at, to_raw<float>(sums[p]));
  }
}

/// Blocks take `run` rows each, warps * 32 threads per row (four rows side by side where a warp is enough), a row in up
/// to `packs` packs per thread. Bytes per element in bf16: 8 (dy, h, dh in and out), 2 for each of `previous` and
/// `next`: the floor; and 8 / run for the sums of dgain.
template <class T, int width, int warps, int packs>
__global__ void __launch_bounds__(block_threads(warps), resident_threads(packs) / block_threads(warps))
    norm_backward_rows(Backward<T> args, float* partials, std::int64_t run) {
  constexpr int threads = warps * warp_size;
  constexpr int side_by_side = warps == 1 ? rows_of_warps : 1;
  __shared__ float shared[2][warps];  // by turns, so that one barrier per row is enough
  int const first = static_cast<int>(threadIdx.x) % threads * width;
  int const columns = static_cast<int>(args.columns);
  Raw<T, width> gain[packs];
  Floats<width> gain_sums[packs] = {};
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    int const at = p * threads * width;
    gain[p] = first + at < columns ? load<T, width, Reuse::constant>(args.gain + first + at) : Raw<T, width>{};
  }
  std::int64_t const begin = blockIdx.x * run;
  std::int64_t const end = begin + run < args.rows ? begin + run : args.rows;
  int turn = 0;
  for (std::int64_t row = begin + threadIdx.x / threads; row < end; row += side_by_side) {
    T const* const dy_row = args.dy.row(row) + first;
    T const* const hidden_row = args.hidden.row(row) + first;
    T const* const previous_row = args.previous.row(row) + first;
    T const* const next_row = args.next.row(row) + first;
    T* const dh_row = args.dh.row(row) + first;
    Token const token = token_of(args, row);
    Raw<T, width> dy[packs], hidden[packs], dh[packs], previous[packs], next[packs];
#pragma unroll
    for (int p = 0; p < packs; ++p) {
      int const at = p * threads * width;
      bool const there = first + at < columns;
      Raw<T, width> const none{};
      dy[p] = there ? load<T, width, Reuse::never>(dy_row + at) : none;
      hidden[p] = there ? load<T, width, Reuse::never>(hidden_row + at) : none;
      dh[p] = there && !args.overwrite ? load<T, width, Reuse::never>(dh_row + at) : none;
      previous[p] = there && args.has_previous ? load<T, width, Reuse::never>(previous_row + at) : none;
      next[p] = there && args.has_next ? load<T, width, Reuse::never>(next_row + at) : none;
    }
    float dot[1] = {};
#pragma unroll
    for (int p = 0; p < packs; ++p) dot[0] += dot_with_gain(gain[p], dy[p], hidden[p]);
    block_sum<warps, 1>(dot, shared[turn]);
    turn = 1 - turn;
    Factors const factors = factors_of(args, token, dot[0]);
#pragma unroll
    for (int p = 0; p < packs; ++p) {
      int const at = p * threads * width;
      add_product(gain_sums[p], factors.rstd, dy[p], hidden[p]);
      Floats<width> gradient = to_floats(dh[p]);
      add_scaled(gradient, factors.own, hidden[p]);
      add_product(gradient, factors.rstd, gain[p], dy[p]);
      if (args.has_previous) add_scaled(gradient, factors.previous, previous[p]);
      if (args.has_next) add_scaled(gradient, factors.next, next[p]);
      if (first + at < columns) store(dh_row + at, to_raw<T>(gradient));
    }
  }
  write_partials<width, warps, packs>(gain_sums, partials, columns);
}

/// dh of rows of any length and alignment, with or without the norm: 256 threads per row, which read dy and h twice.
/// Without the norm that is once, and bytes per element are at the floor.
template <class T, int width> __global__ void __launch_bounds__(loop_threads) norm_backward_loop(Backward<T> args) {
  constexpr int step = loop_threads * width;
  __shared__ float shared[loop_warps];
  std::int64_t const row = blockIdx.x;
  std::int64_t const begin = static_cast<std::int64_t>(threadIdx.x) * width;
  Token const token = token_of(args, row);
  float dot[1] = {};
  if (args.has_norm) {
    for (std::int64_t column = begin; column < args.columns; column += step) {
      dot[0] += dot_with_gain(load<T, width, Reuse::constant>(args.gain + column),
                              load<T, width>(args.dy.row(row) + column), load<T, width>(args.hidden.row(row) + column));
    }
    block_sum<loop_warps, 1>(dot, shared);
  }
  Factors const factors = factors_of(args, token, dot[0]);
  for (std::int64_t column = begin; column < args.columns; column += step) {
    T* const dh = args.dh.row(row) + column;
    auto gradient = to_floats(args.overwrite ? Raw<T, width>{} : load<T, width, Reuse::never>(dh));
    add_scaled(gradient, factors.own, load<T, width>(args.hidden.row(row) + column));
    if (args.has_norm) {
      add_product(gradient, factors.rstd, load<T, width, Reuse::constant>(args.gain + column),
                  load<T, width>(args.dy.row(row) + column));
    }
    if (args.has_previous) {
      add_scaled(gradient, factors.previous, load<T, width, Reuse::never>(args.previous.row(row) + column));
    }
    if (args.has_next) add_scaled(gradient, factors.next, load<T, width, Reuse::never>(args.next.row(row) + column));
    store(dh, to_raw<T>(gradient));
  }
}

/// The part of dgain of `run` rows: a thread per column, which reads dy and h once more.
template <class T>
__global__ void __launch_bounds__(loop_threads)
    sum_gain_columns(Backward<T> args, float* partials, std::int64_t run, unsigned per_run) {
  std::int64_t const part = blockIdx.x / per_run;
  std::int64_t const column = static_cast<std::int64_t>(blockIdx.x % per_run) * loop_threads + threadIdx.x;
  if (column >= args.columns) return;
  std::int64_t const end = (part + 1) * run < args.rows ? (part + 1) * run : args.rows;
  Floats<1> sum{};
  for (std::int64_t row = part * run; row < end; ++row) {
    add_product(sum, args.rstd[row], load<T, 1>(args.dy.row(row) + column), load<T, 1>(args.hidden.row(row) + column));
  }
  partials[part * args.columns + column] = sum.values[0];
}

/// gain_gradient += the sums of `count` rows of partials: 32 columns per block, in 32 groups of neighbouring rows,
/// which are then added in order.
__global__ void __launch_bounds__(1024)
    add_gain_partials(float const* partials, std::int64_t count, std::int64_t columns, float* gain_gradient) {
  __shared__ float groups[32][33];
  int const lane = static_cast<int>(threadIdx.x) % 32;
  int const group = static_cast<int>(threadIdx.x) / 32;
  std::int64_t const column = static_cast<std::int64_t>(blockIdx.x) * 32 + lane;
  std::int64_t const size = (count + 31) / 32;
  std::int64_t const end = (group + 1) * size < count ? (group + 1) * size : count;
  float sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (std::int64_t row = group * size; row < end; ++row) sum += __ldcs(partials + row * columns + column);
  }
  groups[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= columns) return;
  float total = 0;
  for (int g = 0; g < 32; ++g) total += groups[g][lane];
  gain_gradient[column] += total;
}

/// Rows of the runs that blocks take, so that as many blocks as fit run at once, and their number.
struct Runs {
  std::int64_t rows;
  std::int64_t count;
};
Runs runs_of(Context const& context, std::int64_t rows, std::int64_t blocks_per_multiprocessor) {
  std::int64_t const blocks = std::max<std::int64_t>(1, context.multiprocessors * blocks_per_multiprocessor);
  std::int64_t const run = std::max(shortest_run, groups_of(blocks, rows));
  return {run, groups_of(run, rows)};
}

float* reserve_partials(Context const& context, Runs const& runs, std::int64_t columns) {
  return static_cast<float*>(
      context.workspace->reserve(static_cast<std::size_t>(runs.count * columns) * sizeof(float)));
}

void launch_adding(Context const& context, float const* partials, Runs const& runs, Tensor const& gain_gradient) {
  launch(add_gain_partials, blocks_for(gain_gradient.columns, 32), 1024, 0, context.stream, partials, runs.count,
         gain_gradient.columns, gain_gradient.as<float>());
}

template <class T, int warps, int packs>
void launch_rows(Context const& context, Backward<T> const& args, Tensor const& gain_gradient) {
  Runs const runs = runs_of(context, args.rows, resident_threads(packs) / block_threads(warps));
  float* const partials = reserve_partials(context, runs, args.columns);
  launch(norm_backward_rows<T, full_width<T>, warps, packs>, blocks_for(runs.count, 1), block_threads(warps), 0,
         context.stream, args, partials, runs.rows);
  launch_adding(context, partials, runs, gain_gradient);
}

template <class T, int width>
void launch_loop(Context const& context, Backward<T> const& args, Tensor const& gain_gradient) {
  if (args.has_norm) {
    unsigned const per_run = blocks_for(args.columns, loop_threads);
    Runs const runs = runs_of(context, args.rows, 8);
    float* const partials = reserve_partials(context, runs, args.columns);
    launch(sum_gain_columns<T>, blocks_for(runs.count * per_run, 1), loop_threads, 0, context.stream, args, partials,
           runs.rows, per_run);
    launch_adding(context, partials, runs, gain_gradient);
  }
  launch(norm_backward_loop<T, width>, blocks_for(args.rows, 1), loop_threads, 0, context.stream, args);
}

/// The fewest warps that keep a row in 2 packs per thread; with 3, registers would not do.
template <class T>
void launch_backward(Context const& context, Backward<T> const& args, Tensor const& gain_gradient, int width) {
  if (width == 1) return launch_loop<T, 1>(context, args, gain_gradient);
  std::int64_t const lanes = groups_of(warp_size, args.columns / width);  // packs per lane of one warp
  if (!args.has_norm || lanes > 32) return launch_loop<T, full_width<T>>(context, args, gain_gradient);
  if (lanes <= 1) return launch_rows<T, 1, 1>(context, args, gain_gradient);
  if (lanes <= 2) return launch_rows<T, 1, 2>(context, args, gain_gradient);
  if (lanes <= 3) return launch_rows<T, 3, 1>(context, args, gain_gradient);
  if (lanes <= 4) return launch_rows<T, 2, 2>(context, args, gain_gradient);
  if (lanes <= 6) return launch_rows<T, 3, 2>(context, args, gain_gradient);
  if (lanes <= 8) return launch_rows<T, 4, 2>(context, args, gain_gradient);
  if (lanes <= 12) return launch_rows<T, 6, 2>(context, args, gain_gradient);
  if (lanes <= 16) return launch_rows<T, 8, 2>(context, args, gain_gradient);
  if (lanes <= 24) return launch_rows<T, 12, 2>(context, args, gain_gradient);
  launch_rows<T, 16, 2>(context, args, gain_gradient);
}

template <class T> void backward(Context const& context, NormBackward const& args) {
  auto const row = [](Tensor const& tensor) { return static_cast<float const*>(tensor.data); };
  AngularGradient const& angular = args.angular;
  Tensor const previous = args.has_angular ? angular.previous : Tensor{};
  Tensor const next = args.has_angular ? angular.next : Tensor{};
  Backward<T> const rows{.has_norm = static_cast<bool>(args.normed_gradient),
                         .dy = rows_of<T const>(args.normed_gradient, args.hidden),
                         .hidden = rows_of<T const>(args.hidden),
                         .gain = static_cast<T const*>(args.gain.data),
                         .rstd = row(args.rstd),
                         .dh = rows_of<T>(args.hidden_gradient),
                         .overwrite = args.overwrite,
                         .has_previous = static_cast<bool>(previous),
                         .has_next = static_cast<bool>(next),
                         .norm = row(angular.norm),
                         .previous = rows_of<T const>(previous, args.hidden),
                         .previous_norm = row(angular.previous_norm),
                         .displacement = row(angular.displacement),
                         .next = rows_of<T const>(next, args.hidden),
                         .next_norm = row(angular.next_norm),
                         .next_displacement = row(angular.next_displacement),
                         .coefficient = angular.coefficient,
                         .next_coefficient = angular.next_coefficient,
                         .rows = args.hidden.rows,
                         .columns = args.hidden.columns};
  int const width = common_width<T>(args.normed_gradient, args.hidden, args.normed_gradient ? args.gain : Tensor{},
                                    args.hidden_gradient, previous, next);
  launch_backward(context, rows, args.gain_gradient, width);
}

}  // namespace

void norm_backward(Context const& context, NormBackward const& args) {
  if (args.hidden.size() == 0) return;
  if (args.hidden.dtype == DType::f32) {
    backward<float>(context, args);
  } else {
    backward<Bf16>(context, args);
  }
}

}  // namespace jreg::backend::cuda
