#include "backend/cuda/stream.h"

#include <utility>

#include "backend/cuda/check.h"

namespace jreg::backend::cuda {

Stream make_stream() {
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking), "create a stream");
  return Stream{raw};
}

Stream make_urgent_stream() {
  int least = 0;
  int greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "ask for the priorities of streams");
  cudaStream_t raw = nullptr;
  check(cudaStreamCreateWithPriority(&raw, cudaStreamNonBlocking, greatest), "create a stream");
  return Stream{raw};
}

Event make_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreateWithFlags(&raw, cudaEventDisableTiming), "create an event");
  return Event{raw};
}

Event make_timing_event() {
  cudaEvent_t raw = nullptr;
  check(cudaEventCreate(&raw), "create an event");
  return Event{raw};
}

void order(cudaStream_t earlier, cudaStream_t later, Event const& event) {
  check(cudaEventRecord(event.get(), earlier), "record an event");
  check(cudaStreamWaitEvent(later, event.get(), 0), "wait for an event");
}

bool reached(Event const& event) {
  cudaError_t const status = cudaEventQuery(event.get());
  if (status == cudaErrorNotReady) return false;
  check(status, "ask for an event");
  return true;
}

void StreamTimer::start(cudaStream_t stream) {
  collect();
  if (spare_.empty()) spare_.push_back({make_timing_event(), make_timing_event()});
  check(cudaEventRecord(spare_.back().begin.get(), stream), "record an event");
}

void StreamTimer::stop(cudaStream_t stream) {
  check(cudaEventRecord(spare_.back().end.get(), stream), "record an event");
  running_.push_back(std::move(spare_.back()));
  spare_.pop_back();
}

double StreamTimer::seconds() const {
  collect();
  return seconds_;
}

void StreamTimer::collect() const {
  while (!running_.empty() && reached(running_.front().end)) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, running_.front().begin.get(), running_.front().end.get()),
          "take the time between events");
    seconds_ += static_cast<double>(milliseconds) / 1e3;
    spare_.push_back(std::move(running_.front()));
    running_.pop_front();
  }
}

}  // namespace jreg::backend::cuda
