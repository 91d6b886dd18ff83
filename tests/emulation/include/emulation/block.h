#pragma once

#include <vector_types.h>

#include <cstddef>
#include <functional>
#include <source_location>

/// What kernels meet of the software device while they run: their place in the grid, barriers, the warp's exchanges.
/// One block runs at a time, its threads as fibers that take turns at barriers and exchanges only.
namespace emulation {

constexpr int warp_size = 32;

/// Runs `body` as every thread of every block. `shared_bytes` of dynamic shared memory, NaN at first.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, std::function<void()> const& body);

/// True while a kernel runs.
bool in_kernel();

/// Waits for all threads of the block that have not returned. `where`: they must all come to the same barrier.
void block_barrier(std::source_location where);

/// One exchange of the lanes in `mask`: all of them bring `argument`, then `exchange` runs once with the arguments by
/// lane (null for lanes that take no part). `kind` names the operation; lanes that bring different ones are an error.
using Exchange = void (*)(void* const (&arguments)[warp_size]);
void warp_exchange(char const* kind, unsigned mask, void* argument, Exchange exchange);

/// This thread's lane.
int lane();

/// The block's dynamic shared memory, and its size.
unsigned char* shared_memory();
std::size_t shared_memory_bytes();

/// Asynchronous copies of this thread: done when waited for, or at once, as the device's order says; both are legal.
void copy_async(void* shared, void const* global, bool there);
void copy_async_commit();
void copy_async_wait(int groups);

/// A kernel did what a GPU does not allow: prints what and where, and ends the process.
[[noreturn]] void kernel_error(char const* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace emulation

// The built-in variables of CUDA C++, those of the running thread.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = emulation::warp_size;
