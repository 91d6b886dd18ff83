#pragma once

namespace jreg::mpi {

/// Before MPI_Init, in a task that srun started without anything by which MPI could find others. Throws UserError, with
/// rank and host, where there are others: each would train alone, in the same run folder. A task without others, such
/// as a shell of salloc's, is told to MPI as a program that nobody launched; Open MPI would end it otherwise.
void settle_task_without_mpi();

/// After MPI_Init, with MPI's number of ranks. Throws UserError, with rank and host, where the launcher started more
/// than that: MPI came up as several jobs.
void refuse_split_launch(int size);

}  // namespace jreg::mpi
