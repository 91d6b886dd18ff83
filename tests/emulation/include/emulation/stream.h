#pragma once

#include <cuda_runtime_api.h>

#include <functional>

/// Streams of the software device: queues of work that runs when somebody waits for it (or at once, by its settings).
namespace emulation {

/// Work of a stream: true once it is done; false: it waits for another process and is tried again. Other streams go on
/// meanwhile, as on a GPU.
using Work = std::function<bool()>;

void enqueue(cudaStream_t stream, Work work);
/// The same for work that a failing device would report later: the first error stays until it is asked for.
void set_error(cudaError_t error);

}  // namespace emulation
