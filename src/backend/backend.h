#pragma once

#include <mpi.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "backend/collective.h"
#include "backend/ops.h"
#include "backend/tensor.h"
#include "base/error.h"

namespace jreg::backend {

class Backend;

/// A backend has not as much memory as it is asked for; exit code 2: another start would not help. The text is a line
/// on what was asked for, is in use and is free.
class OutOfMemory : public Error {
public:
  explicit OutOfMemory(std::string const& text) : Error{ExitCode::usage, text} {}
  /// The same of memory that was to hold `what`.
  OutOfMemory(OutOfMemory const& error, std::string const& what)
      : Error{ExitCode::usage, "no memory for " + what + ": " + error.what()} {}
};

/// Owns memory of a backend; move-only. The backend must outlive it.
class Buffer {
public:
  Buffer() = default;
  Buffer(Backend& backend, std::size_t bytes);
  /// The same for `what` ("gradients"), which the OutOfMemory names.
  Buffer(Backend& backend, std::size_t bytes, std::string const& what);
  Buffer(Buffer&& from) noexcept;
  Buffer& operator=(Buffer from) noexcept;
  ~Buffer();

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

private:
  Backend* backend_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A library or driver that all ranks should have in the same version.
struct LibraryVersion {
  std::string name;
  std::string version;
};

/// Where a training step runs. The seam between CPU and CUDA: everything above works on Tensors through it.
class Backend {
public:
  virtual ~Backend() = default;

  virtual char const* name() const = 0;
  /// One line on the processor and the libraries in use, for the run header.
  virtual std::string description() const = 0;

  virtual Ops& ops() = 0;
  /// Collectives over the ranks of `group`; collective over it. `group` must outlive the result.
  virtual std::unique_ptr<Collective> connect(MPI_Comm group) = 0;

  /// Memory aligned to at least 64 bytes (CPU: 2 MiB pages where the system gives them). Contents are undefined.
  /// Throws SystemError or OutOfMemory when there is not enough.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void deallocate(void* memory, std::size_t bytes) noexcept = 0;
  /// Between host memory and this backend's; ordered with the operations. On return the host memory may be used again,
  /// and holds what was asked for.
  virtual void copy_to_host(void* host, void const* memory, std::size_t bytes) = 0;
  virtual void copy_from_host(void* memory, void const* host, std::size_t bytes) = 0;
  /// Waits until all operations so far are done.
  virtual void synchronize() = 0;

  /// Floating point operations per second that the arithmetic units do at most, on values in registers, for products of
  /// this type; measured now, in less than a tenth of a second. 0: this backend does not tell.
  virtual double arithmetic_peak(DType /*dtype*/) { return 0; }

  /// How large the classifier's piece of fp32 logits is to be, which is passed over several times: what stays in a
  /// cache meanwhile, or as much as keeps the processor busy.
  virtual std::size_t logits_bytes() const = 0;

  /// What this process must have for itself, such as a GPU, by a name that no other one on any host has (its UUID);
  /// empty where ranks may share what they run on.
  virtual std::string exclusive_device() const = 0;

  /// Versions that should be the same on all ranks; as many on each.
  virtual std::vector<LibraryVersion> library_versions() const { return {}; }

  /// Breaks off exchanges with other ranks that hang; any thread may call it. Whoever waits for one, or begins another,
  /// gets a SystemError with exit code 75.
  virtual void abandon() noexcept {}

  /// Names, for a profiler's timeline, what the calls up to the matching end_range() are for. Ranges may be nested;
  /// they cost nothing where nobody looks. See Range.
  virtual void begin_range(char const* /*name*/) {}
  virtual void end_range() noexcept {}
  /// Tells the profiler that this process runs under to record from here on, or no longer. Nothing where a backend has
  /// none.
  virtual void record_profile(bool /*on*/) {}

  /// Bytes that allocate() handed out and that are still held, and their peak.
  virtual std::size_t bytes_in_use() const = 0;
  virtual std::size_t peak_bytes() const = 0;
};

/// A named range of a profiler's timeline: from here to the end of its life.
class Range {
public:
  Range(Backend& backend, char const* name) : backend_{backend} { backend_.begin_range(name); }
  Range(Range const&) = delete;
  Range& operator=(Range const&) = delete;
  ~Range() { backend_.end_range(); }

private:
  Backend& backend_;
};

/// Whether this build has a backend of that name; the machine may still lack what it runs on.
bool has_backend(std::string const& name);

/// Throws UserError when this build has no backend of that name, or none that exchanges between ranks by `collective`
/// (run.collective, of the cuda backend), saying how to build it.
void require_backend(std::string const& name, std::string const& collective = "mpi");

/// "cpu" or "cuda". Throws UserError when this build has no such backend, saying how to build it. `collective`: how
/// ranks of the cuda backend exchange: "nccl" between GPUs, each of one rank, or "mpi" by way of the hosts; the cpu
/// backend has MPI alone.
std::unique_ptr<Backend> make_backend(std::string const& name, int node_local_rank,
                                      std::string const& collective = "mpi");

}  // namespace jreg::backend
