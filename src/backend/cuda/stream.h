#pragma once

#include <cuda_runtime_api.h>

#include "base/handle.h"

namespace jreg::backend::cuda {

struct StreamTraits {
  using Raw = cudaStream_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cudaStreamDestroy(raw); }
};
struct EventTraits {
  using Raw = cudaEvent_t;
  static Raw null() { return nullptr; }
  static void close(Raw raw) noexcept { cudaEventDestroy(raw); }
};
using Stream = UniqueHandle<StreamTraits>;
using Event = UniqueHandle<EventTraits>;

/// A stream of its own that does not wait for the default one.
Stream make_stream();
/// An event for order alone, without times.
Event make_event();

/// What `later` gets from here on waits until all that `earlier` has got so far is done. `event` may be used again at
/// once.
void order(cudaStream_t earlier, cudaStream_t later, Event const& event);

}  // namespace jreg::backend::cuda
