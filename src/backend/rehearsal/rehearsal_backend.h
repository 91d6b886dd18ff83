#pragma once

#include "backend/backend.h"
#include "backend/rehearsal/rehearsal_ops.h"

namespace jreg::backend::rehearsal {

/// Lets a step run without computing, without memory and without other ranks, to learn what it would take: memory is
/// counted and not there (its addresses must not be read), operations and collectives only enter a trace. What is
/// copied to the host is ones in fp64, so that sums and norms are finite and counts positive.
class RehearsalBackend : public Backend {
public:
  /// `logits_bytes`: see Backend::logits_bytes().
  explicit RehearsalBackend(std::size_t logits_bytes) : logits_bytes_{logits_bytes}, ops_{trace_} {}

  char const* name() const override { return "rehearsal"; }
  std::string description() const override { return "nothing is computed"; }
  Ops& ops() override { return ops_; }
  /// There is no MPI here: a broken invariant. See group().
  std::unique_ptr<Collective> connect(MPI_Comm group) override;
  void* allocate(std::size_t bytes) override;
  void deallocate(void* memory, std::size_t bytes) noexcept override;
  void copy_to_host(void* host, void const* memory, std::size_t bytes) override;
  void copy_from_host(void* memory, void const* host, std::size_t bytes) override;
  void synchronize() override {}
  std::size_t logits_bytes() const override { return logits_bytes_; }
  std::string exclusive_device() const override { return {}; }
  std::size_t bytes_in_use() const override { return bytes_in_use_; }
  std::size_t peak_bytes() const override { return peak_bytes_; }

  /// The part that rank `rank` of `ranks` has in a group. This must outlive it.
  std::unique_ptr<Collective> group(Group group, int rank, int ranks);

  Trace& trace() noexcept { return trace_; }

private:
  std::size_t logits_bytes_;
  Trace trace_;
  RehearsalOps ops_;
  std::uintptr_t next_ = std::uintptr_t{1} << 40U;  // addresses that differ and that nobody may use
  std::size_t bytes_in_use_ = 0;
  std::size_t peak_bytes_ = 0;
};

}  // namespace jreg::backend::rehearsal
