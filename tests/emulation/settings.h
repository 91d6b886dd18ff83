#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

/// In which order threads, warps and blocks have their turns: all are legal, so results must not depend on it.
enum class Order { ascending, descending, shuffled };
/// When an asynchronous copy into shared memory happens: when it is begun or when it is waited for.
enum class Copies { early, late };
/// When a stream does its work: as soon as it can, or not before somebody waits for it.
enum class Streams { eager, lazy };

/// What the software device is, from the environment of the process.
struct Settings {
  Order order = Order::ascending;              // JREG_EMULATED_ORDER = ascending | descending | shuffled
  std::uint64_t seed = 1;                      // JREG_EMULATED_SEED, of the shuffled order
  Copies copies = Copies::late;                // JREG_EMULATED_COPIES = early | late
  Streams streams = Streams::lazy;             // JREG_EMULATED_STREAMS = eager | lazy
  int devices = 1;                             // JREG_EMULATED_GPUS
  int multiprocessors = 3;                     // JREG_EMULATED_MULTIPROCESSORS
  std::size_t memory = std::size_t{4} << 30U;  // JREG_EMULATED_MEMORY, bytes of each device
  std::size_t shared_per_block = 227 * 1024;   // JREG_EMULATED_SHARED, bytes that a block can have
};

// JREG_EMULATED_LAUNCHES names a file that lists the kernels launched: launches.h.

/// Ends the process with a message when a variable holds something else. Tests may change what is there.
Settings& settings();

}  // namespace emulation
