#include "backend/cuda/kernels/embedding.h"

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/pieces.cuh"

namespace jreg::backend::cuda {
namespace {

constexpr int packs_per_thread = 2;

/// A block per piece of a token's row. Bytes per element of out in bf16: 4, the floor where tokens differ; rows that
/// come often are read from the cache.
template <class T, int width>
__global__ void __launch_bounds__(128)
    gather_rows(std::int32_t const* tokens, Rows<T const> table, std::int64_t first_row, std::int64_t table_rows,
                Rows<T> out, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<packs_per_thread>(per_row);
  std::int64_t const row = tokens[place.row] - first_row;
  bool const here = row >= 0 && row < table_rows;
  T const* const source = table.row(here ? row : 0);
  T* const target = out.row(place.row);
  Raw<T, width> values[packs_per_thread];
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    values[p] = here && pack < packs ? load<T, width, Reuse::constant>(source + pack * width) : Raw<T, width>{};
  }
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) store(target + pack * width, values[p]);
  }
}

template <class T, int width>
void launch_gather(Context const& context, Tensor const& tokens, Tensor const& table, std::int64_t first_row,
                   Tensor const& out) {
  std::int64_t const packs = out.columns / width;
  Pieces const pieces = pieces_of(out.rows, packs, packs_per_thread);
  launch(gather_rows<T, width>, pieces.blocks, pieces.threads, 0, context.stream, tokens.as<std::int32_t>(),
         rows_of<T const>(table), first_row, table.rows, rows_of<T>(out), packs, pieces.per_row);
}

template <class T>
void gather(Context const& context, Tensor const& tokens, Tensor const& table, std::int64_t first_row,
            Tensor const& out) {
  constexpr int full = full_width<T>;
  if (common_width<T>(table, out) == full) {
    launch_gather<T, full>(context, tokens, table, first_row, out);
  } else {
    launch_gather<T, 1>(context, tokens, table, first_row, out);
  }
}

}  // namespace

void embedding(Context const& context, Tensor const& tokens, Tensor const& table, std::int64_t first_row,
               Tensor const& out) {
  if (out.dtype == DType::f32) {
    gather<float>(context, tokens, table, first_row, out);
  } else {
    gather<Bf16>(context, tokens, table, first_row, out);
  }
}

}  // namespace jreg::backend::cuda
