#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <vector>

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
/// The same, whose kernels come before those of other streams: what other ranks wait for.
Stream make_urgent_stream();
/// An event for order alone, without times.
Event make_event();
/// An event that knows when the stream came to it.
Event make_timing_event();

/// What `later` gets from here on waits until all that `earlier` has got so far is done. `event` may be used again at
/// once.
void order(cudaStream_t earlier, cudaStream_t later, Event const& event);

/// Whether the stream has come to where the event was recorded; never blocks. Throws what went wrong on the GPU.
bool reached(Event const& event);

/// Adds up the time that one stream spends between marks, by the GPU's clock, without waiting for it.
class StreamTimer {
public:
  void start(cudaStream_t stream);
  void stop(cudaStream_t stream);
  /// Of all stretches that the stream has left behind by now.
  double seconds() const;

private:
  struct Stretch {
    Event begin;
    Event end;
  };
  void collect() const;

  mutable std::deque<Stretch> running_;  // the oldest first
  mutable std::vector<Stretch> spare_;
  mutable double seconds_ = 0;
};

}  // namespace jreg::backend::cuda
