#include "emulation/stream.h"

#include <sched.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "device_memory.h"
#include "emulation/block.h"
#include "settings.h"

// CUstream_st and CUevent_st are what the runtime's handles point to.
struct CUstream_st {
  std::deque<emulation::Work> work;
  bool busy = false;  // its first piece of work is running
};

namespace emulation {
/// One cudaEventRecord: done once the stream has come to it.
struct Record {
  CUstream_st* stream;
  bool done = false;
};
}  // namespace emulation

struct CUevent_st {
  std::shared_ptr<emulation::Record> record;  // none before the first cudaEventRecord
};

namespace emulation {
namespace {

struct Queues {
  std::recursive_mutex mutex;
  CUstream_st standard;  // the default stream, which waits for no other one here: the backend does not use it
  std::vector<std::unique_ptr<CUstream_st>> all;
  cudaError_t error = cudaSuccess;
};
Queues& streams() {
  static auto* const one = new Queues;
  return *one;
}

CUstream_st* stream_of(cudaStream_t handle) {
  if (handle == nullptr) return &streams().standard;
  for (auto const& stream : streams().all) {
    if (stream.get() == handle) return handle;
  }
  kernel_error("a stream is used that was destroyed or never made");
}

/// Tries the first piece of work of a stream; true when it got done.
bool advance(CUstream_st& stream) {
  if (stream.work.empty() || stream.busy) return false;
  stream.busy = true;
  Work work = std::move(stream.work.front());
  bool const done = work();
  stream.busy = false;
  if (done) {
    stream.work.pop_front();
  } else {
    stream.work.front() = std::move(work);
  }
  return done;
}

bool advance_any() {
  bool moved = advance(streams().standard);
  for (std::size_t i = 0; i < streams().all.size(); ++i) moved = advance(*streams().all[i]) || moved;
  return moved;
}

/// Works on `stream` until `done`; on the others only while that one waits for somebody else.
template <class Done> void work_until(CUstream_st& stream, Done const& done) {
  DeviceAtWork const at_work;
  while (!done()) {
    if (advance(stream)) continue;
    if (!advance_any()) sched_yield();
  }
}

}  // namespace

void enqueue(cudaStream_t handle, Work work) {
  std::scoped_lock const lock{streams().mutex};
  CUstream_st& stream = *stream_of(handle);
  stream.work.push_back(std::move(work));
  if (settings().streams == Streams::lazy) return;
  DeviceAtWork const at_work;
  while (advance(stream)) {
  }
}

void set_error(cudaError_t error) {
  std::scoped_lock const lock{streams().mutex};
  streams().error = error;
}

}  // namespace emulation

using emulation::streams;

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned, int) {
  std::scoped_lock const lock{streams().mutex};
  streams().all.push_back(std::make_unique<CUstream_st>());
  *handle = streams().all.back().get();
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return cudaStreamCreateWithPriority(handle, flags, 0);
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  std::scoped_lock const lock{streams().mutex};
  CUstream_st& stream = *emulation::stream_of(handle);
  emulation::work_until(stream, [&] { return stream.work.empty(); });
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  std::scoped_lock const lock{streams().mutex};
  CUstream_st& stream = *emulation::stream_of(handle);
  emulation::DeviceAtWork const at_work;
  emulation::advance(stream);
  return stream.work.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  std::scoped_lock const lock{streams().mutex};
  cudaStreamSynchronize(handle);
  std::erase_if(streams().all, [&](auto const& stream) { return stream.get() == handle; });
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  std::scoped_lock const lock{streams().mutex};
  cudaStreamSynchronize(nullptr);
  for (std::size_t i = 0; i < streams().all.size(); ++i) cudaStreamSynchronize(streams().all[i].get());
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  std::scoped_lock const lock{streams().mutex};
  event->record = std::make_shared<emulation::Record>(emulation::stream_of(handle));
  emulation::enqueue(handle, [record = event->record] {
    record->done = true;
    return true;
  });
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  std::scoped_lock const lock{streams().mutex};
  if (!event->record) return cudaSuccess;
  emulation::enqueue(handle, [record = event->record] {
    while (!record->done) {
      if (!emulation::advance(*record->stream)) return false;
    }
    return true;
  });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::scoped_lock const lock{streams().mutex};
  if (!event->record || event->record->done) return cudaSuccess;
  emulation::DeviceAtWork const at_work;
  emulation::advance(*event->record->stream);
  return event->record->done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::scoped_lock const lock{streams().mutex};
  if (!event->record) return cudaSuccess;
  emulation::Record const& record = *event->record;
  emulation::work_until(*record.stream, [&] { return record.done; });
  return cudaSuccess;
}
/// The software device keeps no time: everything takes one millisecond.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  std::scoped_lock const lock{streams().mutex};
  return std::exchange(streams().error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  std::scoped_lock const lock{streams().mutex};
  return streams().error;
}
