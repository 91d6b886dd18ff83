#include "backend/cuda/kernels/swiglu.h"

#include "backend/cuda/kernels/access.cuh"
#include "backend/cuda/kernels/pieces.cuh"

namespace jreg::backend::cuda {
namespace {

// __fdividef: to 2 ulp, and 0 where 1 + e^-gate is beyond 2^126.

/// Packs of gate and of up that a thread has under way together.
constexpr int packs_per_thread = 2;

/// A block per piece of a row, 2 packs of 16 bytes of gate and of up per thread. Bytes per element of out in bf16: 6
/// (gate, up, out), the floor. `out` goes straight into a product and may stay in the cache.
template <class T, int width>
__global__ void __launch_bounds__(128)
    swiglu_pieces(Rows<T const> gate_up, Rows<T> out, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<packs_per_thread>(per_row);
  T const* const gates = gate_up.row(place.row);
  T const* const ups = gates + packs * width;
  T* const result = out.row(place.row);
  Raw<T, width> gate[packs_per_thread];
  Raw<T, width> up[packs_per_thread];
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) {
      gate[p] = load<T, width, Reuse::never>(gates + pack * width);
      up[p] = load<T, width, Reuse::never>(ups + pack * width);
    }
  }
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack >= packs) return;
    Floats<width> const g = to_floats(gate[p]);
    Floats<width> product = to_floats(up[p]);
#pragma unroll
    for (int i = 0; i < width; ++i) product.values[i] *= __fdividef(g.values[i], 1.0F + expf(-g.values[i]));
    store(result + pack * width, to_raw<T>(product));
  }
}

/// The same grid. Bytes per element of dout in bf16: 10 (gate, up, dout in; both gradients out), and 2 for `out`.
/// All three results go straight into products.
template <class T, int width>
__global__ void __launch_bounds__(128)
    swiglu_backward_pieces(Rows<T> gate_up, Rows<T const> dout, Rows<T> out, std::int64_t packs, unsigned per_row) {
  Place const place = place_of<packs_per_thread>(per_row);
  T* const gates = gate_up.row(place.row);
  T* const ups = gates + packs * width;
  T const* const gradients = dout.row(place.row);
  Raw<T, width> gate[packs_per_thread];
  Raw<T, width> up[packs_per_thread];
  Raw<T, width> gradient[packs_per_thread];
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack < packs) {
      gate[p] = load<T, width, Reuse::never>(gates + pack * width);
      up[p] = load<T, width, Reuse::never>(ups + pack * width);
      gradient[p] = load<T, width, Reuse::never>(gradients + pack * width);
    }
  }
#pragma unroll
  for (int p = 0; p < packs_per_thread; ++p) {
    std::int64_t const pack = place.pack + p * blockDim.x;
    if (pack >= packs) return;
    Floats<width> g = to_floats(gate[p]);
    Floats<width> u = to_floats(up[p]);
    Floats<width> product = to_floats(gradient[p]);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      float const d = product.values[i];
      float const sigmoid = __fdividef(1.0F, 1.0F + expf(-g.values[i]));
      float const silu = g.values[i] * sigmoid;
      product.values[i] = silu * u.values[i];
      g.values[i] = d * u.values[i] * (sigmoid + silu * (1.0F - sigmoid));
      u.values[i] = d * silu;
    }
    store(gates + pack * width, to_raw<T>(g));
    store(ups + pack * width, to_raw<T>(u));
    if (out.data != nullptr) store(out.row(place.row) + pack * width, to_raw<T>(product));
  }
}

template <class T, int width> void launch_forward(Context const& context, Tensor const& gate_up, Tensor const& out) {
  std::int64_t const packs = out.columns / width;
  Pieces const pieces = pieces_of(out.rows, packs, packs_per_thread);
  launch(swiglu_pieces<T, width>, pieces.blocks, pieces.threads, 0, context.stream, rows_of<T const>(gate_up),
         rows_of<T>(out), packs, pieces.per_row);
}

template <class T, int width>
void launch_backward(Context const& context, Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  std::int64_t const packs = dout.columns / width;
  Pieces const pieces = pieces_of(dout.rows, packs, packs_per_thread);
  launch(swiglu_backward_pieces<T, width>, pieces.blocks, pieces.threads, 0, context.stream, rows_of<T>(gate_up),
         rows_of<T const>(dout), rows_of<T>(out), packs, pieces.per_row);
}

template <class T> void forward(Context const& context, Tensor const& gate_up, Tensor const& out) {
  constexpr int full = full_width<T>;
  if (common_width<T>(gate_up, out) == full) {
    launch_forward<T, full>(context, gate_up, out);
  } else {
    launch_forward<T, 1>(context, gate_up, out);
  }
}

template <class T> void backward(Context const& context, Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  constexpr int full = full_width<T>;
  if (common_width<T>(gate_up, dout, out) == full) {
    launch_backward<T, full>(context, gate_up, dout, out);
  } else {
    launch_backward<T, 1>(context, gate_up, dout, out);
  }
}

}  // namespace

void swiglu(Context const& context, Tensor const& gate_up, Tensor const& out) {
  if (out.dtype == DType::f32) {
    forward<float>(context, gate_up, out);
  } else {
    forward<Bf16>(context, gate_up, out);
  }
}

void swiglu_backward(Context const& context, Tensor const& gate_up, Tensor const& dout, Tensor const& out) {
  if (dout.dtype == DType::f32) {
    backward<float>(context, gate_up, dout, out);
  } else {
    backward<Bf16>(context, gate_up, dout, out);
  }
}

}  // namespace jreg::backend::cuda
