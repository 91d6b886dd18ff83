#pragma once

#include "mpi/communicator.h"

namespace jreg::mpi {

/// MPI_Init to MPI_Finalize; the first member of a program's run time, so that every communicator closes before it.
/// An exception must not leave its life: catch inside, print, abort().
class Session {
public:
  Session(int& argc, char**& argv);
  Session(Session const&) = delete;
  Session& operator=(Session const&) = delete;
  ~Session();

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }

  /// Ends all ranks at once with this exit code.
  [[noreturn]] static void abort(int exit_code) noexcept;

private:
  int rank_ = 0;
  int size_ = 1;
};

/// Number of ranks the launcher will start, read from its environment before MPI_Init; 1 when there is none.
int launched_ranks() noexcept;
/// This process's rank as the launcher's environment tells it before MPI_Init; 0 when there is none.
int launched_rank() noexcept;

}  // namespace jreg::mpi
