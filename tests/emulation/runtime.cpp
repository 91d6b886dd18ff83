#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "device_memory.h"
#include "emulation/block.h"
#include "emulation/launch.h"
#include "emulation/stream.h"
#include "launches.h"
#include "settings.h"

// The rest of the runtime API, as far as the backend calls it.

namespace emulation {
namespace {

thread_local int current_device = 0;

/// Bytes of dynamic shared memory that kernels have been given beyond the usual ones.
std::map<void const*, std::size_t>& shared_limits() {
  static std::map<void const*, std::size_t> limits;
  return limits;
}

/// A copy of rows that lie `to_pitch` and `from_pitch` bytes apart.
struct Copy {
  unsigned char* to;
  std::size_t to_pitch;
  unsigned char const* from;
  std::size_t from_pitch;
  std::size_t width;
  std::size_t rows;

  void run() const {
    for (std::size_t i = 0; i < rows; ++i) std::memcpy(to + i * to_pitch, from + i * from_pitch, width);
  }
};

/// Pageable memory is read before the call returns, and written before it returns; all else waits for its turn.
cudaError_t copy(Copy const& work, cudaStream_t stream) {
  if (work.width == 0 || work.rows == 0) return cudaSuccess;
  if (place_of(work.from) == Place::pageable) {
    std::vector<unsigned char> kept(work.rows * work.width);
    Copy{kept.data(), work.width, work.from, work.from_pitch, work.width, work.rows}.run();
    enqueue(stream, [work, kept = std::move(kept)] {
      Copy{work.to, work.to_pitch, kept.data(), work.width, work.width, work.rows}.run();
      return true;
    });
    return cudaSuccess;
  }
  enqueue(stream, [work] {
    work.run();
    return true;
  });
  return place_of(work.to) == Place::pageable ? cudaStreamSynchronize(stream) : cudaSuccess;
}

}  // namespace

cudaError_t check_launch(cudaLaunchConfig_t const& config, void const* kernel) {
  auto const refuse = [](cudaError_t error, char const* why) {
    std::fprintf(stderr, "software device: launch refused: %s\n", why);
    set_error(error);
    return error;
  };
  dim3 const block = config.blockDim;
  dim3 const grid = config.gridDim;
  auto const threads = static_cast<std::uint64_t>(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) {
    return refuse(cudaErrorInvalidConfiguration, "a block has 1 to 1024 threads");
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffU || grid.y > 65535 || grid.z > 65535) {
    return refuse(cudaErrorInvalidConfiguration, "a grid has 1 to 2^31 - 1, 65535 and 65535 blocks");
  }
  auto const given = shared_limits().find(kernel);
  std::size_t const limit = given == shared_limits().end() ? 48 * 1024 : given->second;
  if (config.dynamicSmemBytes > limit) return refuse(cudaErrorInvalidValue, "more shared memory than was asked for");
  record_launch(config, kernel);
  return cudaSuccess;
}

}  // namespace emulation

using emulation::current_device;
using emulation::settings;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = settings().devices;
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= settings().devices) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = settings().multiprocessors;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(settings().shared_per_block);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(settings().shared_per_block) + 1024;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = 1 << 20;
      return cudaSuccess;
    case cudaDevAttrClockRate:
      *value = 1000000;
      return cudaSuccess;
    default:
      std::fprintf(stderr, "software device: it does not know attribute %d\n", static_cast<int>(attribute));
      return cudaErrorInvalidValue;
  }
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= settings().devices) return cudaErrorInvalidDevice;
  *properties = cudaDeviceProp{};
  std::snprintf(properties->name, sizeof(properties->name), "software device %d", device);
  std::memset(properties->uuid.bytes, 0x10 + device, sizeof(properties->uuid.bytes));
  properties->totalGlobalMem = settings().memory;
  properties->major = 9;
  properties->multiProcessorCount = settings().multiprocessors;
  properties->l2CacheSize = 1 << 20;
  properties->sharedMemPerBlockOptin = settings().shared_per_block;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  return cudaRuntimeGetVersion(version);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(void const* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > settings().shared_per_block) return cudaErrorInvalidValue;
  emulation::shared_limits()[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void const*, int threads, std::size_t shared) {
  int const by_shared = shared == 0 ? 32 : static_cast<int>((settings().shared_per_block + 1024) / shared);
  *blocks = std::max(0, std::min({32, 2048 / threads, by_shared}));
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, void const* from, std::size_t from_pitch,
                              std::size_t width, std::size_t rows, cudaMemcpyKind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidPitchValue;
  return emulation::copy(
      {static_cast<unsigned char*>(to), to_pitch, static_cast<unsigned char const*>(from), from_pitch, width, rows},
      stream);
}
cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemset2DAsync(void* to, std::size_t pitch, int value, std::size_t width, std::size_t rows,
                              cudaStream_t stream) {
  if (width > pitch) return cudaErrorInvalidPitchValue;
  emulation::enqueue(stream, [=] {
    for (std::size_t i = 0; i < rows; ++i) std::memset(static_cast<unsigned char*>(to) + i * pitch, value, width);
    return true;
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  return cudaMemset2DAsync(to, bytes, value, bytes, 1, stream);
}

cudaError_t cudaProfilerStart() {
  return cudaSuccess;
}
cudaError_t cudaProfilerStop() {
  return cudaSuccess;
}

char const* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    default:
      return "another error of the software device";
  }
}
char const* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}
