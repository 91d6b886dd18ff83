#include "device_memory.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "emulation/stream.h"
#include "settings.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace emulation {
namespace {

constexpr std::align_val_t alignment{256};

struct Allocation {
  std::size_t bytes;
  Place place;
  int device;
};

/// By address.
struct Memory {
  std::recursive_mutex mutex;
  std::map<std::uintptr_t, Allocation> all;
  std::map<int, std::size_t> in_use;  // by device
  int at_work = 0;
};
Memory& memory() {
  static auto* const one = new Memory;  // lives as long as any other object's destructor may need it
  return *one;
}

void close_to_host(std::uintptr_t address, Allocation const& allocation) {
  if (allocation.place == Place::device) {
    ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(address), allocation.bytes);
  }
}

void* allocate(std::size_t bytes, Place place, int device) {
  void* const address = ::operator new(bytes, alignment, std::nothrow);
  if (address == nullptr) return nullptr;
  std::memset(address, 0xff, bytes);
  std::scoped_lock const lock{memory().mutex};
  auto const number = reinterpret_cast<std::uintptr_t>(address);
  auto const& entry = memory().all[number] = Allocation{bytes, place, device};
  if (memory().at_work == 0) close_to_host(number, entry);
  return address;
}

cudaError_t release(void* address, Place place) {
  if (address == nullptr) return cudaSuccess;
  std::scoped_lock const lock{memory().mutex};
  auto const found = memory().all.find(reinterpret_cast<std::uintptr_t>(address));
  if (found == memory().all.end() || found->second.place != place) return cudaErrorInvalidValue;
  if (place == Place::device) memory().in_use[found->second.device] -= found->second.bytes;
  ASAN_UNPOISON_MEMORY_REGION(address, found->second.bytes);
  memory().all.erase(found);
  ::operator delete(address, alignment);
  return cudaSuccess;
}

}  // namespace

Place place_of(void const* address) {
  std::scoped_lock const lock{memory().mutex};
  auto const number = reinterpret_cast<std::uintptr_t>(address);
  auto next = memory().all.upper_bound(number);
  if (next == memory().all.begin()) return Place::pageable;
  --next;
  return number < next->first + next->second.bytes ? next->second.place : Place::pageable;
}

DeviceAtWork::DeviceAtWork() {
  std::scoped_lock const lock{memory().mutex};
  if (memory().at_work++ > 0) return;
  for (auto const& [address, allocation] : memory().all) {
    if (allocation.place == Place::device) {
      ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(address), allocation.bytes);
    }
  }
}

DeviceAtWork::~DeviceAtWork() {
  std::scoped_lock const lock{memory().mutex};
  if (--memory().at_work > 0) return;
  for (auto const& [address, allocation] : memory().all) close_to_host(address, allocation);
}

}  // namespace emulation

using emulation::Place;

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  int device = 0;
  cudaGetDevice(&device);
  std::scoped_lock const lock{emulation::memory().mutex};
  std::size_t& in_use = emulation::memory().in_use[device];
  if (bytes > emulation::settings().memory - in_use) {
    emulation::set_error(cudaErrorMemoryAllocation);
    return cudaErrorMemoryAllocation;
  }
  *address = bytes == 0 ? nullptr : emulation::allocate(bytes, Place::device, device);
  if (*address == nullptr && bytes > 0) return cudaErrorMemoryAllocation;
  in_use += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
  cudaDeviceSynchronize();
  return emulation::release(address, Place::device);
}

cudaError_t cudaHostAlloc(void** address, std::size_t bytes, unsigned) {
  *address = bytes == 0 ? nullptr : emulation::allocate(bytes, Place::pinned, 0);
  return *address == nullptr && bytes > 0 ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaMallocHost(void** address, std::size_t bytes) {
  return cudaHostAlloc(address, bytes, 0);
}
cudaError_t cudaFreeHost(void* address) {
  cudaDeviceSynchronize();
  return emulation::release(address, Place::pinned);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  int device = 0;
  cudaGetDevice(&device);
  std::scoped_lock const lock{emulation::memory().mutex};
  *total = emulation::settings().memory;
  *free = *total - emulation::memory().in_use[device];
  return cudaSuccess;
}
