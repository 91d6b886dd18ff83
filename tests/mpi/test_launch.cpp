#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/host.h"
#include "mpi/launch.h"
#include "mpi/session.h"

namespace jreg::mpi {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// An environment without a launcher's variables, that a test fills.
class Launches : public testing::Test {
protected:
  Launches() { clear(); }
  ~Launches() override { clear(); }

  static void clear() {
    for (char const* const name :
         {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMIX_NAMESPACE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK",
          "PMI_FD", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"}) {
      unsetenv(name);
    }
  }
  static void set(char const* name, char const* value) { setenv(name, value, 1); }
  static void be_task_of_srun() {
    set("SLURM_JOB_ID", "17");
    set("SLURM_NTASKS", "4");
    set("SLURM_PROCID", "2");
    set("SLURM_STEP_ID", "0");
    set("SLURM_STEP_NUM_TASKS", "4");
  }
};

TEST_F(Launches, OfTasksWithoutMpiAreRefusedNamingRankAndHost) {
  be_task_of_srun();
  EXPECT_THAT([] { settle_task_without_mpi(); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("rank 2 of 4 on host " + host_name()), HasSubstr("mpirun"),
                                             HasSubstr("--mpi=pmix"))));
}

TEST_F(Launches, OfTasksWithPmixOrPmiAreNot) {
  for (char const* const name : {"PMIX_NAMESPACE", "PMI_FD"}) {
    clear();
    be_task_of_srun();
    set(name, "7");
    EXPECT_NO_THROW(settle_task_without_mpi()) << name;
  }
}

TEST_F(Launches, OfOneTaskNeedNoMpi) {
  be_task_of_srun();
  set("SLURM_STEP_NUM_TASKS", "1");
  EXPECT_NO_THROW(settle_task_without_mpi());
  EXPECT_NO_THROW(refuse_split_launch(1));
  EXPECT_EQ(std::getenv("SLURM_STEP_ID"), nullptr);
}

TEST_F(Launches, OfAScriptInAnAllocationAreNotTasks) {
  set("SLURM_JOB_ID", "17");
  set("SLURM_NTASKS", "4");
  set("SLURM_PROCID", "0");
  EXPECT_NO_THROW(settle_task_without_mpi());
  EXPECT_NO_THROW(refuse_split_launch(1));
  EXPECT_EQ(launched_ranks(), 1);
}

TEST_F(Launches, ByMpirunWithinAJobCountMpirunsRanks) {
  be_task_of_srun();  // of mpirun's daemon, which srun has started
  set("SLURM_STEP_NUM_TASKS", "2");
  set("OMPI_COMM_WORLD_SIZE", "16");
  set("OMPI_COMM_WORLD_RANK", "11");
  EXPECT_NO_THROW(settle_task_without_mpi());
  EXPECT_NO_THROW(refuse_split_launch(16));
  EXPECT_EQ(launched_ranks(), 16);
  EXPECT_EQ(launched_rank(), 11);
}

TEST_F(Launches, ThatMpiSplitsAreRefusedNamingRankAndHost) {
  be_task_of_srun();
  set("PMIX_RANK", "3");
  EXPECT_NO_THROW(refuse_split_launch(4));
  EXPECT_THAT([] { refuse_split_launch(1); },
              ThrowsMessage<UserError>(AllOf(HasSubstr("rank 3 of 4 on host " + host_name()), HasSubstr("1 rank(s)"))));
}

TEST_F(Launches, ThatTellNoNumberMayHaveAny) {
  EXPECT_NO_THROW(refuse_split_launch(8));
}

}  // namespace
}  // namespace jreg::mpi
