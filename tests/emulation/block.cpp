#include "emulation/block.h"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "settings.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define JREG_EMULATION_ASAN 1
#else
#define JREG_EMULATION_ASAN 0
#endif

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulation {
namespace {

namespace context = boost::context::detail;

constexpr std::size_t stack_bytes = 256 * 1024;

enum class State { ready, at_barrier, in_exchange, returned };

struct PendingCopy {
  void* shared;
  void const* global;
  bool there;
  bool committed;
};

struct Thread {
  context::fcontext_t fiber = nullptr;
  unsigned char* stack = nullptr;  // lowest address
  void* asan_stack = nullptr;      // what AddressSanitizer keeps of a fiber that is not running
  State state = State::returned;
  uint3 index{};
  int number = 0;  // in the block
  std::source_location barrier;
  std::vector<PendingCopy> copies;
  std::vector<std::size_t> groups;  // copies in each committed group that is still under way
};

/// The exchange that lanes of one warp are gathering for.
struct Meeting {
  char const* kind = nullptr;
  unsigned mask = 0;
  unsigned arrived = 0;
  void* arguments[warp_size] = {};
};

/// The one processor of the device.
struct Processor {
  std::vector<std::unique_ptr<Thread>> threads;  // grows to the largest block; fibers are used again
  int count = 0;                                 // threads of this block
  std::vector<Meeting> meetings;                 // by warp
  Thread* current = nullptr;
  context::fcontext_t scheduler = nullptr;
  void const* scheduler_stack = nullptr;
  std::size_t scheduler_stack_bytes = 0;
  void* scheduler_asan_stack = nullptr;
  std::function<void()> const* body = nullptr;
  unsigned char* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::uint64_t random = 0;
};
Processor processor;

void leave_to(Thread& thread) {
#if JREG_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&processor.scheduler_asan_stack, thread.stack, stack_bytes);
#endif
  processor.current = &thread;
  threadIdx = thread.index;
  thread.fiber = context::jump_fcontext(thread.fiber, &thread).fctx;
#if JREG_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(processor.scheduler_asan_stack, nullptr, nullptr);
#endif
  processor.current = nullptr;
}

void leave_to_scheduler(Thread& thread) {
#if JREG_EMULATION_ASAN
  __sanitizer_start_switch_fiber(&thread.asan_stack, processor.scheduler_stack, processor.scheduler_stack_bytes);
#endif
  processor.scheduler = context::jump_fcontext(processor.scheduler, nullptr).fctx;
#if JREG_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(thread.asan_stack, &processor.scheduler_stack, &processor.scheduler_stack_bytes);
#endif
}

/// A fiber's whole life: one thread after another, of whichever kernel.
void live(context::transfer_t from) {
  Thread& thread = *static_cast<Thread*>(from.data);
  processor.scheduler = from.fctx;
#if JREG_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &processor.scheduler_stack, &processor.scheduler_stack_bytes);
#endif
  for (;;) {
    (*processor.body)();
    thread.copies.clear();  // nobody waited for them
    thread.groups.clear();
    thread.state = State::returned;
    leave_to_scheduler(thread);
  }
}

std::unique_ptr<Thread> make_thread(int number) {
  auto const page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory =
      mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc{};
  mprotect(memory, page, PROT_NONE);
  auto thread = std::make_unique<Thread>();
  thread->stack = static_cast<unsigned char*>(memory) + page;
  thread->fiber = context::make_fcontext(thread->stack + stack_bytes, stack_bytes, live);
  thread->number = number;
  return thread;
}

std::uint64_t next_random() {
  processor.random = processor.random * 6364136223846793005ULL + 1442695040888963407ULL;
  return processor.random >> 33U;
}

void copy_now(PendingCopy const& copy) {
  if (copy.there) {
    std::memcpy(copy.shared, copy.global, 16);
  } else {
    std::memset(copy.shared, 0, 16);
  }
}

/// The lanes of this warp in their order of the day.
int lane_at(int turn) {
  switch (settings().order) {
    case Order::ascending:
      return turn;
    case Order::descending:
      return warp_size - 1 - turn;
    case Order::shuffled:
      return static_cast<int>((static_cast<std::uint64_t>(turn) * 13 + processor.random % 32) % 32);
  }
  return turn;
}

/// Runs the threads of a warp until each has returned or waits for the block; false when none could move.
bool run_warp(int warp) {
  int const begin = warp * warp_size;
  int const end = std::min(begin + warp_size, processor.count);
  bool moved = false;
  for (bool again = true; again;) {
    again = false;
    for (int turn = 0; turn < warp_size; ++turn) {
      int const number = begin + lane_at(turn);
      if (number >= end || processor.threads[number]->state != State::ready) continue;
      leave_to(*processor.threads[number]);
      again = moved = true;
    }
    // Now and then another warp has its turn first.
    if (settings().order == Order::shuffled && next_random() % 4 == 0) return moved;
  }
  return moved;
}

bool all_at_barrier() {
  int waiting = 0;
  int returned = 0;
  for (int i = 0; i < processor.count; ++i) {
    waiting += processor.threads[i]->state == State::at_barrier;
    returned += processor.threads[i]->state == State::returned;
  }
  return waiting > 0 && waiting + returned == processor.count;
}

void release_barrier() {
  Thread const* first = nullptr;
  for (int i = 0; i < processor.count; ++i) {
    Thread& thread = *processor.threads[i];
    if (thread.state != State::at_barrier) continue;
    if (first == nullptr) first = &thread;
    if (first->barrier.line() != thread.barrier.line() ||
        std::strcmp(first->barrier.file_name(), thread.barrier.file_name()) != 0) {
      kernel_error("threads %d and %d wait at different barriers: %s:%u and %s:%u", first->number, thread.number,
                   first->barrier.file_name(), first->barrier.line(), thread.barrier.file_name(),
                   thread.barrier.line());
    }
    thread.state = State::ready;
  }
}

[[noreturn]] void report_deadlock() {
  for (int i = 0; i < processor.count; ++i) {
    Thread const& thread = *processor.threads[i];
    if (thread.state == State::in_exchange) {
      Meeting const& meeting = processor.meetings[i / warp_size];
      std::fprintf(stderr, "thread %d waits in %s for lanes %08x of %08x\n", i, meeting.kind,
                   meeting.mask & ~meeting.arrived, meeting.mask);
    } else if (thread.state == State::at_barrier) {
      std::fprintf(stderr, "thread %d waits at the barrier in %s:%u\n", i, thread.barrier.file_name(),
                   thread.barrier.line());
    }
  }
  kernel_error("no thread of the block can go on");
}

void run_block(int warps) {
  for (;;) {
    bool moved = false;
    for (int turn = 0; turn < warps; ++turn) {
      int const warp = settings().order == Order::descending ? warps - 1 - turn : turn;
      moved = run_warp(warp) || moved;
    }
    if (all_at_barrier()) {
      release_barrier();
      continue;
    }
    if (moved) continue;
    for (int i = 0; i < processor.count; ++i) {
      if (processor.threads[i]->state != State::returned) report_deadlock();
    }
    return;
  }
}

void prepare_threads(dim3 block) {
  processor.count = static_cast<int>(block.x * block.y * block.z);
  while (static_cast<int>(processor.threads.size()) < processor.count) {
    processor.threads.push_back(make_thread(static_cast<int>(processor.threads.size())));
  }
  for (int i = 0; i < processor.count; ++i) {
    unsigned const number = static_cast<unsigned>(i);
    processor.threads[i]->index = {number % block.x, number / block.x % block.y, number / (block.x * block.y)};
  }
}

/// All lanes of the mask are there and have not returned.
void check_mask(Thread const& self, char const* kind, unsigned mask) {
  int const first = self.number / warp_size * warp_size;
  for (int i = 0; i < warp_size; ++i) {
    if ((mask >> static_cast<unsigned>(i) & 1U) == 0) continue;
    if (first + i >= processor.count) kernel_error("%s names lane %d, which the block does not have", kind, i);
    if (processor.threads[first + i]->state == State::returned) {
      kernel_error("%s waits for lane %d, which has returned", kind, i);
    }
  }
}

/// Memory of exactly this size, so that AddressSanitizer sees what lies beyond it.
struct SharedMemory {
  explicit SharedMemory(std::size_t bytes)
      : memory{static_cast<unsigned char*>(::operator new (bytes, std::align_val_t{128}))} {}
  SharedMemory(SharedMemory const&) = delete;
  SharedMemory& operator=(SharedMemory const&) = delete;
  ~SharedMemory() { ::operator delete (memory, std::align_val_t{128}); }
  unsigned char* memory;
};

}  // namespace

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, std::function<void()> const& body) {
  if (processor.body != nullptr) kernel_error("a kernel begins while another one runs");
  SharedMemory const shared{shared_bytes};
  prepare_threads(block);
  processor.meetings.assign(static_cast<std::size_t>((processor.count + warp_size - 1) / warp_size), {});
  processor.body = &body;
  processor.shared = shared.memory;
  processor.shared_bytes = shared_bytes;
  processor.random = settings().seed;
  blockDim = block;
  gridDim = grid;
  auto const blocks = static_cast<std::uint64_t>(grid.x) * grid.y * grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    std::uint64_t const b = settings().order == Order::descending ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / (static_cast<std::uint64_t>(grid.x) * grid.y))};
    std::memset(shared.memory, 0xff, shared_bytes);
    for (int t = 0; t < processor.count; ++t) processor.threads[t]->state = State::ready;
    run_block((processor.count + warp_size - 1) / warp_size);
    next_random();
  }
  processor.body = nullptr;
  processor.shared = nullptr;
  processor.shared_bytes = 0;
}

bool in_kernel() {
  return processor.current != nullptr;
}

void block_barrier(std::source_location where) {
  Thread& thread = *processor.current;
  thread.barrier = where;
  thread.state = State::at_barrier;
  leave_to_scheduler(thread);
}

void warp_exchange(char const* kind, unsigned mask, void* argument, Exchange exchange) {
  Thread& self = *processor.current;
  auto const mine = static_cast<unsigned>(self.number % warp_size);
  if ((mask >> mine & 1U) == 0) kernel_error("thread %d is not in the mask %08x of its %s", self.number, mask, kind);
  Meeting& meeting = processor.meetings[self.number / warp_size];
  if (meeting.arrived == 0) {
    meeting.kind = kind;
    meeting.mask = mask;
    check_mask(self, kind, mask);
  } else if (meeting.mask != mask || (meeting.kind != kind && std::strcmp(meeting.kind, kind) != 0)) {
    kernel_error("lanes of one warp meet in %s (%08x) and %s (%08x)", kind, mask, meeting.kind, meeting.mask);
  }
  meeting.arrived |= 1U << mine;
  meeting.arguments[mine] = argument;
  self.state = State::in_exchange;
  if (meeting.arrived == mask) {  // the last one does the work
    exchange(meeting.arguments);
    int const first = self.number / warp_size * warp_size;
    for (int i = 0; i < warp_size; ++i) {
      if (meeting.arguments[i] != nullptr) processor.threads[first + i]->state = State::ready;
      meeting.arguments[i] = nullptr;
    }
    meeting.arrived = 0;
  }
  leave_to_scheduler(self);
}

int lane() {
  return processor.current->number % warp_size;
}

unsigned char* shared_memory() {
  return processor.shared;
}
std::size_t shared_memory_bytes() {
  return processor.shared_bytes;
}

void copy_async(void* shared, void const* global, bool there) {
  auto const offset = static_cast<unsigned char*>(shared) - processor.shared;
  if (offset < 0 || static_cast<std::size_t>(offset) + 16 > processor.shared_bytes) {
    kernel_error("an asynchronous copy goes to byte %td of %zu of shared memory", offset, processor.shared_bytes);
  }
  if (offset % 16 != 0 || reinterpret_cast<std::uintptr_t>(global) % 16 != 0) {
    kernel_error("an asynchronous copy is not aligned to 16 bytes: from %p to shared byte %td", global, offset);
  }
  PendingCopy const copy{shared, global, there, false};
  if (settings().copies == Copies::early) {
    copy_now(copy);
  } else {
    processor.current->copies.push_back(copy);
  }
}

void copy_async_commit() {
  Thread& thread = *processor.current;
  std::size_t count = thread.copies.size();
  for (std::size_t const group : thread.groups) count -= group;
  thread.groups.push_back(count);
}

void copy_async_wait(int groups) {
  Thread& thread = *processor.current;
  while (static_cast<int>(thread.groups.size()) > groups) {
    auto const end = thread.copies.begin() + static_cast<std::ptrdiff_t>(thread.groups.front());
    for (auto copy = thread.copies.begin(); copy != end; ++copy) copy_now(*copy);
    thread.copies.erase(thread.copies.begin(), end);
    thread.groups.erase(thread.groups.begin());
  }
}

void kernel_error(char const* format, ...) {
  std::va_list values;
  va_start(values, format);
  std::fprintf(stderr, "software device: block (%u, %u, %u) of (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z,
               gridDim.x, gridDim.y, gridDim.z);
  std::vfprintf(stderr, format, values);
  std::fputc('\n', stderr);
  va_end(values);
  std::abort();
}

}  // namespace emulation
