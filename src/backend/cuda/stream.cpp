#include "backend/cuda/stream.h"

#include "backend/cuda/check.h"

namespace jreg::backend::cuda {

Stream make_stream() {
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "create a stream");
  return Stream{raw};
}

Event make_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "create an event");
  return Event{raw};
}

void order(cudaStream_t earlier, cudaStream_t later, Event const& event) {
  check(cudaEventRecord(event.get(), earlier), "record an event");
  check(cudaStreamWaitEvent(later, event.get(), 0), "wait for an event");
}

}  // namespace jreg::backend::cuda
