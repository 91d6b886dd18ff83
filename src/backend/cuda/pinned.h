#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "backend/cuda/stream.h"
#include "base/handle.h"

namespace jreg::backend::cuda {

struct PinnedTraits {
  using Raw = void*;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cudaFreeHost(raw); }
};
/// Host memory that the GPU reads and writes by itself.
using Pinned = UniqueHandle<PinnedTraits>;

/// Throws SystemError when the system does not give that much.
Pinned make_pinned(std::size_t bytes);

/// Copies between ordinary host memory and a GPU's through a ring of pinned pieces, in the order of one stream.
class PinnedRing {
public:
  PinnedRing();

  /// `host` may change as soon as this returns; the stream goes on by itself, and waits only where all pieces are still
  /// on their way.
  void to_device(void* memory, void const* host, std::size_t bytes, cudaStream_t stream);
  /// Complete on return.
  void to_host(void* host, void const* memory, std::size_t bytes, cudaStream_t stream);

private:
  static constexpr std::size_t piece_bytes = std::size_t{256} << 10U;  // long enough for the bus's full speed
  static constexpr std::size_t pieces = 32;

  struct Piece {
    void* memory = nullptr;
    Event free;  // once the stream has come to it
  };

  Pinned memory_;
  std::array<Piece, pieces> pieces_;
  std::size_t next_ = 0;
};

}  // namespace jreg::backend::cuda
