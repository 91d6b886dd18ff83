#pragma once

#include <cstddef>
#include <string>

namespace jreg::backend::cuda {

/// What the backend asks of a GPU once.
struct Device {
  int index = 0;     // among those this process sees
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::string uuid;  // "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as nvidia-smi -L prints it
  int major = 0;     // compute capability
  int minor = 0;
  int multiprocessors = 0;
  std::size_t shared_per_block = 0;  // bytes that a block can have if it asks
  std::size_t memory = 0;            // bytes
  std::size_t l2_cache = 0;          // bytes
};

/// Makes the GPU that belongs to this rank, by its place among the ranks of its node, the process's own; ranks beyond
/// the number of GPUs begin again with the first. Throws UserError where there is no driver, too old a driver, no GPU,
/// or one without bf16 (compute capability below 8.0).
Device choose_device(int node_local_rank);

/// "NVIDIA H100 80GB HBM3 (compute capability 9.0, 85.0 GB), driver for CUDA 13.0, runtime 13.0, cuBLASLt 13.1.0"
std::string describe(Device const& device);

/// The CUDA version that the driver is made for, such as "13.0"; "none" without a driver.
std::string driver_version();

/// The GPU has no `bytes` left: a line with what is in use by this process, free, and in all. `bytes_in_use`: handed
/// out by the backend.
std::string out_of_memory_text(Device const& device, std::size_t bytes, std::size_t bytes_in_use);

}  // namespace jreg::backend::cuda
