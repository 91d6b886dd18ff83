#include "backend/cuda/kernels/memory.h"

#include <type_traits>

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/pieces.cuh"

namespace jreg::backend::cuda {
namespace {

constexpr int packs_per_thread = 4;

/// A block per piece of a row, up to 4 packs per thread. Bytes per element: those of both types, the floor. What was
/// copied is read next and may stay in the cache.
template <class From, class To, int width>
__global__ void __launch_bounds__(128)
    copy_pieces(Rows<From const> from, Rows<To> to, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<packs_per_thread>(per_row);
  From const* const source = from.row(place.row);
  To* const target = to.row(place.row);
  Raw<From, width> read[packs_per_thread];
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) read[p] = load<From, width, Reuse::never>(source + pack * width);
  }
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack >= packs) return;
    if constexpr (std::is_same_v<From, To>) {
      store(target + pack * width, read[p]);
    } else {
      store(target + pack * width, to_raw<To>(to_floats(read[p])));
    }
  }
}

template <class From, class To, int width>
void launch_copy(Context const& context, Tensor const& from, Tensor const& to) {
  std::int64_t const packs = from.columns / width;
  Pieces const pieces = pieces_of(from.rows, packs, packs_per_thread);
  launch(copy_pieces<From, To, width>, pieces.blocks, pieces.threads, 0, context.stream, rows_of<From const>(from),
         rows_of<To>(to), packs, pieces.per_row);
}

/// In accesses of 16 bytes as far as they reach, then element by element.
template <class From, class To> void copy_elements(Context const& context, Tensor const& from, Tensor const& to) {
  // Of the smaller type a pack has 16 bytes.
  constexpr int width = full_width < From >> full_width<To> ? full_width<From> : full_width<To>;
  std::int64_t const tail = from.columns % width;
  std::int64_t const body = from.columns - tail;
  Tensor const body_from = from.column_range(0, body);
  Tensor const body_to = to.column_range(0, body);
  if (!allows_width(body_from, width) || !allows_width(body_to, width)) {
    return launch_copy<From, To, 1>(context, from, to);
  }
  launch_copy<From, To, width>(context, body_from, body_to);
  launch_copy<From, To, 1>(context, from.column_range(body, from.columns), to.column_range(body, to.columns));
}

}  // namespace

void zero(Context const& context, Tensor const& values) {
  if (values.size() == 0) return;
  if (values.contiguous()) {
    check(cudaMemsetAsync(values.data, 0, static_cast<std::size_t>(values.bytes()), context.stream), "clear memory");
    return;
  }
  std::size_t const size = size_of(values.dtype);
  check(cudaMemset2DAsync(values.data, static_cast<std::size_t>(values.stride) * size, 0,
                          static_cast<std::size_t>(values.columns) * size, static_cast<std::size_t>(values.rows),
                          context.stream),
        "clear memory");
}

void copy(Context const& context, Tensor const& from, Tensor const& to) {
  if (from.size() == 0) return;
  bool const flat = from.contiguous() && to.contiguous();
  Tensor const source = flat ? from.reshaped(1, from.size()) : from;
  Tensor const target = flat ? to.reshaped(1, to.size()) : to;
  if (from.dtype == to.dtype) {
    // Bits are not looked at: any type of the same size will do.
    switch (size_of(from.dtype)) {
      case 2:
        return copy_elements<Bf16, Bf16>(context, source, target);
      case 4:
        return copy_elements<float, float>(context, source, target);
      default:
        return copy_elements<double, double>(context, source, target);
    }
  }
  if (from.dtype == DType::f32) return copy_elements<float, Bf16>(context, source, target);
  copy_elements<Bf16, float>(context, source, target);
}

}  // namespace jreg::backend::cuda
