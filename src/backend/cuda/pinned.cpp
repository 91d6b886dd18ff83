#include "backend/cuda/pinned.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/cuda/check.h"
#include "base/error.h"

namespace jreg::backend::cuda {
namespace {

template <class T> T* at(T* memory, std::size_t byte) {
  using Byte = std::conditional_t<std::is_const_v<T>, char const, char>;
  return static_cast<Byte*>(memory) + byte;
}

}  // namespace

Pinned make_pinned(std::size_t bytes) {
  void* memory = nullptr;
  cudaError_t const status = cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the next launch would report it again
    throw SystemError{
        fmt::format("CUDA: {:.1f} MB of pinned host memory are not to be had; raise the job's memory or ulimit -l",
                    static_cast<double>(bytes) / 1e6),
        ExitCode::usage};
  }
  check(status, "allocate pinned host memory");
  return Pinned{memory};
}

PinnedRing::PinnedRing() : memory_{make_pinned(pieces * piece_bytes)} {
  for (std::size_t i = 0; i < pieces; ++i) {
    pieces_[i].memory = at(memory_.get(), i * piece_bytes);
    pieces_[i].free = make_event();
  }
}

void PinnedRing::to_device(void* memory, void const* host, std::size_t bytes, cudaStream_t stream) {
  for (std::size_t begin = 0; begin < bytes; begin += piece_bytes) {
    std::size_t const count = std::min(piece_bytes, bytes - begin);
    Piece const& piece = pieces_[next_];
    next_ = (next_ + 1) % pieces;
    check(cudaEventSynchronize(piece.free.get()), "wait for pinned memory");
    std::memcpy(piece.memory, at(host, begin), count);
    check(cudaMemcpyAsync(at(memory, begin), piece.memory, count, cudaMemcpyHostToDevice, stream),
          "copy from the host");
    check(cudaEventRecord(piece.free.get(), stream), "record an event");
  }
}

void PinnedRing::to_host(void* host, void const* memory, std::size_t bytes, cudaStream_t stream) {
  std::size_t asked = 0;
  std::size_t first = next_;  // the piece that holds what arrives next
  for (std::size_t begin = 0; begin < bytes; begin += piece_bytes) {
    // As many pieces on their way as there are: the stream itself keeps them from overtaking earlier copies.
    while (asked < bytes && asked < begin + pieces * piece_bytes) {
      Piece const& piece = pieces_[next_];
      next_ = (next_ + 1) % pieces;
      std::size_t const count = std::min(piece_bytes, bytes - asked);
      check(cudaMemcpyAsync(piece.memory, at(memory, asked), count, cudaMemcpyDeviceToHost, stream),
            "copy to the host");
      check(cudaEventRecord(piece.free.get(), stream), "record an event");
      asked += count;
    }
    Piece const& piece = pieces_[first];
    first = (first + 1) % pieces;
    check(cudaEventSynchronize(piece.free.get()), "wait for the GPU");
    std::memcpy(at(host, begin), piece.memory, std::min(piece_bytes, bytes - begin));
  }
}

}  // namespace jreg::backend::cuda
