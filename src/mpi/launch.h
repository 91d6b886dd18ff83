#pragma once

namespace jreg::mpi {

/// Number of ranks the launcher will start, read from its environment before MPI_Init; 1 when there is none.
int launched_ranks() noexcept;
/// This process's rank as the launcher's environment tells it before MPI_Init; 0 when there is none.
int launched_rank() noexcept;

/// Before MPI_Init. Throws UserError, with rank and host, in a task of several that srun started without anything by
/// which MPI could find the others: each would train alone, in the same run folder.
void refuse_tasks_without_mpi();

/// After MPI_Init, with MPI's number of ranks. Throws UserError, with rank and host, where the launcher started more
/// than that: MPI came up as several jobs.
void refuse_split_launch(int size);

}  // namespace jreg::mpi
