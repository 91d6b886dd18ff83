#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/embedding.h"
#include "backend/cuda/kernels/pieces.cuh"

// Tokens are first brought together by the row of the table that they add to, in five small kernels over the tokens
// (some 40 bytes each); then every row that has tokens is read, added to in token order, and written once. Atomic
// operations decide only where a row's tokens stand and in which order rows are treated, which the sums do not see.

namespace jreg::backend::cuda {
namespace {

constexpr int token_threads = 256;
constexpr int adding_threads = 64;
/// Gradient rows that a thread has under way together.
constexpr int rows_ahead = 8;

/// One row of the table and where its tokens stand in the list.
struct alignas(16) Segment {
  int row;
  int begin;
  int count;
  int unused;
};

/// What the kernels share; all in the workspace.
struct Grouping {
  int* segment_count;  // rows that have tokens
  int* cursor;         // length of the list so far
  int* count;          // (table rows) tokens of each; these three are zero at first
  int* begin;          // (table rows) where its tokens begin in the list
  int* place;          // (T) place of a token among those of its row, as it happened
  int* list;           // (T) tokens by row, as it happened
  int* sorted;         // (T) tokens by row, in order
  Segment* segments;   // (T)
};

struct Tokens {
  std::int32_t const* ids;
  int count;
  std::int64_t first_row;
  std::int64_t table_rows;

  /// The row of token t, or -1.
  __device__ int row(int t) const {
    if (t >= count) return -1;
    std::int64_t const row = ids[t] - first_row;
    return row >= 0 && row < table_rows ? static_cast<int>(row) : -1;
  }
};

__device__ int token_of_thread() {
  return static_cast<int>(blockIdx.x * token_threads + threadIdx.x);
}

/// A thread per token: counts it, and the first to come opens its row's segment.
__global__ void __launch_bounds__(token_threads) count_tokens(Tokens tokens, Grouping grouping) {
  int const t = token_of_thread();
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  int const row = tokens.row(t);
  int const place = row < 0 ? -1 : atomicAdd(grouping.count + row, 1);
  if (row >= 0) grouping.place[t] = place;
  // One addition to the common counter per warp.
  unsigned const opening = __ballot_sync(whole_warp, place == 0);
  int base = 0;
  if (lane == 0 && opening != 0) base = atomicAdd(grouping.segment_count, __popc(opening));
  base = __shfl_sync(whole_warp, base, 0);
  if (place == 0) grouping.segments[base + __popc(opening & ((1U << lane) - 1))].row = row;
}

/// A thread per segment: gives it its part of the list.
__global__ void __launch_bounds__(token_threads) place_segments(Grouping grouping) {
  int const s = token_of_thread();
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  bool const there = s < *grouping.segment_count;
  int const row = there ? grouping.segments[s].row : 0;
  int const count = there ? grouping.count[row] : 0;
  int until = count;
  for (int offset = 1; offset < warp_size; offset *= 2) {
    int const before = __shfl_up_sync(whole_warp, until, offset);
    if (lane >= offset) until += before;
  }
  int base = 0;
  if (lane == warp_size - 1 && until > 0) base = atomicAdd(grouping.cursor, until);
  base = __shfl_sync(whole_warp, base, warp_size - 1);
  if (!there) return;
  grouping.begin[row] = base + until - count;
  grouping.segments[s] = {row, base + until - count, count, 0};
}

/// A thread per token: enters it into its row's part of the list.
__global__ void __launch_bounds__(token_threads) list_tokens(Tokens tokens, Grouping grouping) {
  int const t = token_of_thread();
  int const row = tokens.row(t);
  if (row >= 0) grouping.list[grouping.begin[row] + grouping.place[t]] = t;
}

/// A thread per token: its rank is the number of earlier tokens in its row's part.
__global__ void __launch_bounds__(token_threads) sort_tokens(Tokens tokens, Grouping grouping) {
  int const t = token_of_thread();
  int const row = tokens.row(t);
  if (row < 0) return;
  int const count = grouping.count[row];
  int const begin = grouping.begin[row];
  int const* const list = grouping.list + begin;
  int rank = 0;
#pragma unroll 8
  for (int i = 0; i < count; ++i) rank += list[i] < t ? 1 : 0;
  grouping.sorted[begin + rank] = t;
}

/// A block per segment and piece of its row, one pack per thread, 8 gradient rows under way. Bytes per element of
/// dout: 2 in bf16, and per element of a row that has tokens 8: the floor.
template <class T, int width>
__global__ void __launch_bounds__(adding_threads)
    add_segments(Grouping grouping, Rows<T const> dout, Rows<float> dtable, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<1>(per_row);
  if (place.row >= *grouping.segment_count || place.pack >= packs) return;
  Segment const segment = grouping.segments[place.row];
  std::int64_t const column = place.pack * width;
  int const* const tokens = grouping.sorted + segment.begin;
  float* const target = dtable.row(segment.row) + column;
  auto sum = to_floats(load<float, width, Reuse::never>(target));
  for (int begin = 0; begin < segment.count; begin += rows_ahead) {
    Raw<T, width> gradients[rows_ahead];
#pragma unroll
    for (int i = 0; i < rows_ahead; ++i) {
      if (begin + i < segment.count) gradients[i] = load<T, width, Reuse::never>(dout.row(tokens[begin + i]) + column);
    }
#pragma unroll
    for (int i = 0; i < rows_ahead; ++i) {
      if (begin + i >= segment.count) break;
      auto const gradient = to_floats(gradients[i]);
#pragma unroll
      for (int k = 0; k < width; ++k) sum.values[k] += gradient.values[k];
    }
  }
  store<Reuse::never>(target, to_raw<float>(sum));
}

template <class T, int width>
void launch_adding(Context const& context, Grouping const& grouping, std::int64_t most_segments, Tensor const& dout,
                   Tensor const& dtable) {
  std::int64_t const packs = dout.columns / width;
  Pieces const pieces = pieces_of(most_segments, packs, 1, adding_threads);
  launch(add_segments<T, width>, pieces.blocks, pieces.threads, 0, context.stream, grouping, rows_of<T const>(dout),
         rows_of<float>(dtable), packs, pieces.per_row);
}

template <class T>
void add(Context const& context, Grouping const& grouping, std::int64_t most_segments, Tensor const& dout,
         Tensor const& dtable) {
  constexpr int full = full_width<T>;
  if (allows_width(dout, full) && allows_width(dtable, full)) {
    launch_adding<T, full>(context, grouping, most_segments, dout, dtable);
  } else {
    launch_adding<T, 1>(context, grouping, most_segments, dout, dtable);
  }
}

/// Memory for `tokens` tokens and `rows` rows, cleared where it has to be.
Grouping make_grouping(Context const& context, std::int64_t tokens, std::int64_t rows) {
  // Two counters take the place of 4 ints, so that segments begin at a multiple of 16 bytes.
  std::int64_t const ints = 4 * tokens + 4 + 2 * rows + 3 * tokens;
  auto* const memory = static_cast<int*>(context.workspace->reserve(static_cast<std::size_t>(ints) * sizeof(int)));
  auto* const segments = reinterpret_cast<Segment*>(memory);
  int* const counters = memory + 4 * tokens;
  int* const count = counters + 4;
  int* const begin = count + rows;
  int* const place = begin + rows;
  check(cudaMemsetAsync(counters, 0, static_cast<std::size_t>(4 + rows) * sizeof(int), context.stream), "clear memory");
  return {.segment_count = counters,
          .cursor = counters + 1,
          .count = count,
          .begin = begin,
          .place = place,
          .list = place + tokens,
          .sorted = place + 2 * tokens,
          .segments = segments};
}

}  // namespace

void embedding_backward(Context const& context, Tensor const& tokens, Tensor const& dout, std::int64_t first_row,
                        Tensor const& dtable) {
  expect(dout.rows < INT32_MAX - token_threads && dtable.rows <= INT32_MAX, "tokens and rows are counted in int32");
  if (dout.rows == 0 || dtable.rows == 0) return;
  Grouping const grouping = make_grouping(context, dout.rows, dtable.rows);
  Tokens const ids{tokens.as<std::int32_t>(), static_cast<int>(dout.rows), first_row, dtable.rows};
  unsigned const blocks = blocks_for(dout.rows, token_threads);
  launch(count_tokens, blocks, token_threads, 0, context.stream, ids, grouping);
  launch(place_segments, blocks, token_threads, 0, context.stream, grouping);
  launch(list_tokens, blocks, token_threads, 0, context.stream, ids, grouping);
  launch(sort_tokens, blocks, token_threads, 0, context.stream, ids, grouping);
  std::int64_t const most_segments = std::min(dout.rows, dtable.rows);
  if (dout.dtype == DType::f32) {
    add<float>(context, grouping, most_segments, dout, dtable);
  } else {
    add<Bf16>(context, grouping, most_segments, dout, dtable);
  }
}

}  // namespace jreg::backend::cuda
