#include "backend/cuda/kernels/norm.h"

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/pieces.cuh"

namespace jreg::backend::cuda {
namespace {

constexpr float tiny_norm = 1e-12F;
/// Rows that a block treats where a warp is enough for one.
constexpr int rows_of_warps = 4;
/// Threads of a block, where `warps` treat a row.
constexpr int block_threads(int warps) {
  return (warps == 1 ? rows_of_warps : warps) * warp_size;
}
/// Threads that a multiprocessor should hold at least: 80 registers for each.
constexpr int resident_threads = 768;
/// Threads of a block of the kernel for rows of any length.
constexpr int loop_warps = 8;
constexpr int loop_threads = loop_warps * warp_size;

/// ResidualNorm as kernels read it.
template <class T> struct Forward {
  Rows<T const> residual;
  bool has_delta;  // otherwise h = residual
  Rows<T const> delta;
  Rows<T> hidden;
  T const* gain;  // null: no normalisation
  float* rstd;
  Rows<T> normed;
  float eps;
  float* norm;  // null: no angular rows
  float* displacement;
  float* update_norm;
  bool has_previous;
  Rows<T const> previous;
  float const* previous_norm;
  std::int64_t rows;
  std::int64_t columns;
};

/// Sums over a row, of the values as stored.
enum RowSum { squares, change, along, row_sums };  // |h|^2; |d|^2, d = h - previous; d . (h + previous)

/// residual + delta as T holds it.
template <class T, int width> __device__ Raw<T, width> add(Raw<T, width> const& residual, Raw<T, width> const& delta) {
  Floats<width> h = to_floats(residual);
  Floats<width> const change = to_floats(delta);
#pragma unroll
  for (int i = 0; i < width; ++i) h.values[i] += change.values[i];
  return to_raw<T>(h);
}

template <class T, int width>
__device__ void add_to_sums(Raw<T, width> const& hidden, Raw<T, width> const& previous, bool has_previous,
                            float (&sums)[row_sums]) {
  Floats<width> const h = to_floats(hidden);
#pragma unroll
  for (int i = 0; i < width; ++i) sums[squares] += h.values[i] * h.values[i];
  if (!has_previous) return;
  Floats<width> const p = to_floats(previous);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float const d = h.values[i] - p.values[i];
    sums[change] += d * d;
    sums[along] += d * (h.values[i] + p.values[i]);
  }
}

template <class T, int width>
__device__ Raw<T, width> scaled(Raw<T, width> const& hidden, float rstd, Raw<T, width> const& gain) {
  Floats<width> normed = to_floats(hidden);
  Floats<width> const factors = to_floats(gain);
#pragma unroll
  for (int i = 0; i < width; ++i) normed.values[i] = normed.values[i] * rstd * factors.values[i];
  return to_raw<T>(normed);
}

/// Psi from the sums of one token, in double: the numerator is a difference of nearly equal numbers where the length
/// changes much more than the direction.
__device__ float displacement_of(float const (&sums)[row_sums], double norm, double previous_norm) {
  if (norm < static_cast<double>(tiny_norm) || previous_norm < static_cast<double>(tiny_norm)) return 0;
  double const s = static_cast<double>(sums[along]) / (norm + previous_norm);
  double const psi = (static_cast<double>(sums[change]) - s * s) / (4 * norm * previous_norm);
  return static_cast<float>(psi < 0 ? 0 : psi > 1 ? 1 : psi);
}

/// What one thread per row writes of the sums.
template <class T>
__device__ void write_angular_rows(Forward<T> const& args, std::int64_t row, float const (&sums)[row_sums]) {
  float const norm = sqrtf(sums[squares]);
  args.norm[row] = norm;
  if (!args.has_previous) return;
  args.displacement[row] =
      displacement_of(sums, static_cast<double>(norm), static_cast<double>(args.previous_norm[row]));
  args.update_norm[row] = sqrtf(sums[change]);
}

template <class T> __device__ float rstd_of(Forward<T> const& args, float const (&sums)[row_sums]) {
  return 1.0F / sqrtf(sums[squares] / static_cast<float>(args.columns) + args.eps);
}

/// warps * 32 threads per row, the row kept in registers: up to `packs` packs per thread. Where a warp is enough for a
/// row a block holds 4 rows, otherwise one. Bytes per element in bf16: 8 (residual, delta, hidden, normed), and 2 for
/// `previous`: the floor; the gain comes from the cache.
template <class T, int width, int warps, int packs>
__global__ void __launch_bounds__(block_threads(warps), resident_threads / block_threads(warps))
    residual_norm_rows(Forward<T> args) {
  constexpr int threads = warps * warp_size;
  __shared__ float shared[warps * row_sums];
  std::int64_t const row = warps == 1 ? static_cast<std::int64_t>(blockIdx.x) * rows_of_warps + threadIdx.x / threads
                                      : static_cast<std::int64_t>(blockIdx.x);
  if (row >= args.rows) return;  // whole warps, and only where no barrier follows
  int const thread = static_cast<int>(threadIdx.x) % threads;

  int const first = thread * width;  // column of the first pack
  int const columns = static_cast<int>(args.columns);
  T const* const residual_row = args.residual.row(row) + first;
  T const* const delta_row = args.delta.row(row) + first;
  T const* const previous_row = args.previous.row(row) + first;
  T* const hidden_row = args.hidden.row(row) + first;
  T* const normed_row = args.normed.row(row) + first;

  // All loads first: nothing may move across the stores, which may go to the same memory. Absent packs are zeros.
  Raw<T, width> hidden[packs];
  Raw<T, width> delta[packs];
  Raw<T, width> other[packs];  // previous, then gain
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    int const at = p * threads * width;
    bool const there = first + at < columns;
    hidden[p] = there ? load<T, width, Reuse::never>(residual_row + at) : Raw<T, width>{};
    delta[p] = args.has_delta && there ? load<T, width, Reuse::never>(delta_row + at) : Raw<T, width>{};
    other[p] = args.has_previous && there ? load<T, width, Reuse::never>(previous_row + at) : Raw<T, width>{};
  }

  float sums[row_sums] = {};
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    int const at = p * threads * width;
    bool const there = first + at < columns;
    if (args.has_delta) hidden[p] = add(hidden[p], delta[p]);
    if (args.has_delta && there) store<Reuse::never>(hidden_row + at, hidden[p]);
    add_to_sums(hidden[p], other[p], args.has_previous, sums);
    if (args.gain != nullptr && there) other[p] = load<T, width, Reuse::constant>(args.gain + first + at);
  }
  block_sum<warps, row_sums>(sums, shared);

  if (thread == 0 && args.norm != nullptr) write_angular_rows(args, row, sums);
  if (args.gain == nullptr) return;
  float const rstd = rstd_of(args, sums);
  if (thread == 0) args.rstd[row] = rstd;
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    int const at = p * threads * width;
    if (first + at < columns) store(normed_row + at, scaled(hidden[p], rstd, other[p]));
  }
}

/// The same for rows of any length and alignment: 256 threads per row, which read h once more for `normed`. Bytes per
/// element in bf16: 10 with `previous`, and 2 again for h where the caches have lost it.
template <class T, int width> __global__ void __launch_bounds__(loop_threads) residual_norm_loop(Forward<T> args) {
  constexpr int step = loop_threads * width;
  __shared__ float shared[loop_warps * row_sums];
  std::int64_t const row = blockIdx.x;
  std::int64_t const begin = static_cast<std::int64_t>(threadIdx.x) * width;
  float sums[row_sums] = {};
  for (std::int64_t column = begin; column < args.columns; column += step) {
    auto hidden = load<T, width>(args.residual.row(row) + column);
    Raw<T, width> previous{};
    if (args.has_previous) previous = load<T, width, Reuse::never>(args.previous.row(row) + column);
    if (args.has_delta) {
      hidden = add(hidden, load<T, width, Reuse::never>(args.delta.row(row) + column));
      store(args.hidden.row(row) + column, hidden);
    }
    add_to_sums(hidden, previous, args.has_previous, sums);
  }
  block_sum<loop_warps, row_sums>(sums, shared);

  if (threadIdx.x == 0 && args.norm != nullptr) write_angular_rows(args, row, sums);
  if (args.gain == nullptr) return;
  float const rstd = rstd_of(args, sums);
  if (threadIdx.x == 0) args.rstd[row] = rstd;
  // Each thread reads again what it wrote itself.
  T const* const hidden = args.has_delta ? args.hidden.row(row) : args.residual.row(row);
  for (std::int64_t column = begin; column < args.columns; column += step) {
    auto const gain = load<T, width, Reuse::constant>(args.gain + column);
    store(args.normed.row(row) + column, scaled(load<T, width>(hidden + column), rstd, gain));
  }
}

template <class T, int warps, int packs> void launch_rows(Context const& context, Forward<T> const& args) {
  constexpr int rows = warps == 1 ? rows_of_warps : 1;
  launch(residual_norm_rows<T, full_width<T>, warps, packs>, blocks_for(args.rows, rows), block_threads(warps), 0,
         context.stream, args);
}

template <class T, int width> void launch_loop(Context const& context, Forward<T> const& args) {
  launch(residual_norm_loop<T, width>, blocks_for(args.rows, 1), loop_threads, 0, context.stream, args);
}

/// The fewest warps that keep a row in 4 packs per thread.
template <class T> void launch_forward(Context const& context, Forward<T> const& args, int width) {
  if (width == 1) return launch_loop<T, 1>(context, args);
  std::int64_t const lanes = groups_of(warp_size, args.columns / width);  // packs per lane of one warp
  if (lanes <= 1) return launch_rows<T, 1, 1>(context, args);
  if (lanes <= 2) return launch_rows<T, 1, 2>(context, args);
  if (lanes <= 3) return launch_rows<T, 1, 3>(context, args);
  if (lanes <= 4) return launch_rows<T, 1, 4>(context, args);
  if (lanes <= 6) return launch_rows<T, 2, 3>(context, args);
  if (lanes <= 8) return launch_rows<T, 2, 4>(context, args);
  if (lanes <= 12) return launch_rows<T, 4, 3>(context, args);
  if (lanes <= 16) return launch_rows<T, 4, 4>(context, args);
  if (lanes <= 24) return launch_rows<T, 8, 3>(context, args);
  if (lanes <= 32) return launch_rows<T, 8, 4>(context, args);
  if (lanes <= 48) return launch_rows<T, 16, 3>(context, args);
  if (lanes <= 64) return launch_rows<T, 16, 4>(context, args);
  launch_loop<T, full_width<T>>(context, args);
}

template <class T> void forward(Context const& context, ResidualNorm const& args) {
  bool const angular = static_cast<bool>(args.angular.norm);
  Tensor const previous = angular ? args.previous : Tensor{};
  Tensor const hidden = args.delta ? args.hidden : Tensor{};
  Tensor const normed = args.gain ? args.normed : Tensor{};
  Forward<T> const rows{.residual = rows_of<T const>(args.residual),
                        .has_delta = static_cast<bool>(args.delta),
                        .delta = rows_of<T const>(args.delta, args.residual),
                        .hidden = rows_of<T>(hidden, args.residual),
                        .gain = static_cast<T const*>(args.gain.data),
                        .rstd = static_cast<float*>(args.rstd.data),
                        .normed = rows_of<T>(normed, args.residual),
                        .eps = args.eps,
                        .norm = static_cast<float*>(args.angular.norm.data),
                        .displacement = static_cast<float*>(args.angular.displacement.data),
                        .update_norm = static_cast<float*>(args.angular.update_norm.data),
                        .has_previous = static_cast<bool>(previous),
                        .previous = rows_of<T const>(previous, args.residual),
                        .previous_norm = static_cast<float const*>(args.previous_norm.data),
                        .rows = args.residual.rows,
                        .columns = args.residual.columns};
  launch_forward(context, rows, common_width<T>(args.residual, args.delta, hidden, args.gain, normed, previous));
}

constexpr int again_packs = 2;

/// A block per piece of a row. Bytes per element in bf16: 4, the floor.
template <class T, int width>
__global__ void __launch_bounds__(128) norm_again_pieces(Rows<T const> hidden, T const* gain, float const* rstd,
                                                         Rows<T> normed, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<again_packs>(per_row);
  float const scale = rstd[place.row];
  Raw<T, width> values[again_packs];
  Raw<T, width> gains[again_packs];
#pragma unroll
  for (int p = 0; p < again_packs; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) {
      values[p] = load<T, width, Reuse::never>(hidden.row(place.row) + pack * width);
      gains[p] = load<T, width, Reuse::constant>(gain + pack * width);
    }
  }
#pragma unroll
  for (int p = 0; p < again_packs; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) store(normed.row(place.row) + pack * width, scaled(values[p], scale, gains[p]));
  }
}

template <class T, int width>
void launch_again(Context const& context, Tensor const& hidden, Tensor const& gain, Tensor const& rstd,
                  Tensor const& normed) {
  std::int64_t const packs = hidden.columns / width;
  Pieces const pieces = pieces_of(hidden.rows, packs, again_packs);
  launch(norm_again_pieces<T, width>, pieces.blocks, pieces.threads, 0, context.stream, rows_of<T const>(hidden),
         static_cast<T const*>(gain.data), rstd.as<float>(), rows_of<T>(normed), packs, pieces.per_row);
}

template <class T>
void again(Context const& context, Tensor const& hidden, Tensor const& gain, Tensor const& rstd, Tensor const& normed) {
  if (common_width<T>(hidden, gain, normed) == full_width<T>) {
    launch_again<T, full_width<T>>(context, hidden, gain, rstd, normed);
  } else {
    launch_again<T, 1>(context, hidden, gain, rstd, normed);
  }
}

}  // namespace

void residual_norm(Context const& context, ResidualNorm const& args) {
  if (args.residual.size() == 0) return;
  if (args.residual.dtype == DType::f32) {
    forward<float>(context, args);
  } else {
    forward<Bf16>(context, args);
  }
}

void norm_again(Context const& context, Tensor const& hidden, Tensor const& gain, Tensor const& rstd,
                Tensor const& normed) {
  if (hidden.dtype == DType::f32) {
    again<float>(context, hidden, gain, rstd, normed);
  } else {
    again<Bf16>(context, hidden, gain, rstd, normed);
  }
}

}  // namespace jreg::backend::cuda
