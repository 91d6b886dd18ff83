#pragma once

#include <cstddef>

namespace emulation {

/// What a pointer of the caller points into.
enum class Place { pageable, pinned, device };
/// Also for addresses inside of an allocation.
Place place_of(void const* address);

/// While one of these lives, device memory may be touched; otherwise AddressSanitizer reports whoever does.
class DeviceAtWork {
public:
  DeviceAtWork();
  DeviceAtWork(DeviceAtWork const&) = delete;
  DeviceAtWork& operator=(DeviceAtWork const&) = delete;
  ~DeviceAtWork();
};

}  // namespace emulation
