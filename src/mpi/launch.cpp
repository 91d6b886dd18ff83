#include "mpi/launch.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "base/host.h"
#include "mpi/session.h"

namespace jreg::mpi {
namespace {

bool is_set(char const* name) noexcept {
  char const* const text = std::getenv(name);
  return text != nullptr && *text != '\0';
}

}  // namespace

void settle_task_without_mpi() {
  constexpr std::array ways{"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "PMI_FD"};
  // Only srun sets these two: not salloc, and not sbatch for its script.
  bool const task_of_srun = is_set("SLURM_STEP_ID") && is_set("SLURM_STEP_NUM_TASKS");
  if (!task_of_srun || std::ranges::any_of(ways, is_set)) return;
  if (launched_ranks() == 1) {
    unsetenv("SLURM_STEP_ID");  // what Open MPI knows a task of srun by
    return;
  }
  throw UserError(
      "rank {} of {} on host {}: srun started these tasks without MPI, each would train alone; give srun --mpi=pmix "
      "(srun --mpi=list tells whether Slurm has it), or use mpirun within the job",
      launched_rank(), launched_ranks(), host_name());
}

void refuse_split_launch(int size) {
  if (size >= launched_ranks()) return;  // not every launcher tells its number
  throw UserError(
      "rank {} of {} on host {}: MPI sees {} rank(s), not {}; use the mpirun of the MPI that jreg was built with, or "
      "srun --mpi=pmix (srun --mpi=list tells whether Slurm has it)",
      launched_rank(), launched_ranks(), host_name(), size, launched_ranks());
}

}  // namespace jreg::mpi
