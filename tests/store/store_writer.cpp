// Writes files of ours, whose values follow from the step (rows.h), for the tests in Python.
//   store_writer dynamics FILE STEPS LAYERS           a closed dynamics file
//   store_writer dynamics-endless FILE STEPS LAYERS   appends for ever, printing each step once it is written
//   store_writer checkpoint RUN STEP                  a checkpoint, of all ranks under mpirun
//   store_writer checkpoint-killed RUN STEP           the same; then every rank is killed when the files of another
//                                                     checkpoint are written and not yet joined to one
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/log.h"
#include "mpi/session.h"
#include "store/checkpoint.h"
#include "store/dynamics.h"
#include "store/pending_save.h"
#include "store/rows.h"
#include "store/tensors.h"

namespace {

using namespace jreg;

void write_dynamics(std::string const& path, std::int64_t steps, std::int64_t layers, bool endless) {
  store::DynamicsHeader const header{.config = {{"run.seed", "1"}, {"jreg.lambda", "0.5"}},
                                     .hosts = {"n1", "n2"},
                                     .start_time = "2026-01-02T03:04:05Z"};
  store::DynamicsFile file{path, header, test::make_trajectory(steps, layers)};
  for (std::int64_t step = steps + 1; endless; ++step) {
    file.append(test::train_row(step, layers));
    if (step % 10 == 0) file.append(test::validation_row(step));
    if (step % 4 == 0) file.append(test::probe_row(step, layers));
    std::printf("%lld\n", static_cast<long long>(step));
    std::fflush(stdout);
  }
  file.close();
}

[[noreturn]] void die_between(mpi::Communicator const& comm, std::string const& run, std::int64_t step,
                              std::span<store::SavedSlice const> slices) {
  store::PendingSave const pending{comm, run, test::make_state(step), slices, 0};
  while (pending.busy()) std::this_thread::yield();
  comm.barrier();
  std::raise(SIGKILL);
  std::abort();
}

int write_checkpoint(int& argc, char**& argv, bool killed) {
  mpi::Session const session{argc, argv};
  try {
    mpi::Communicator const comm = mpi::Communicator::duplicate(MPI_COMM_WORLD);
    test::RankSlices const mine = test::slices_of(comm.rank(), comm.size());
    std::int64_t const step = std::atoll(argv[3]);
    store::Trajectory const trajectory = test::make_trajectory(step, 3);
    store::save(comm, argv[2], test::make_state(step), &trajectory, mine.slices, 0);
    if (killed) die_between(comm, argv[2], step + 1, mine.slices);
    return 0;
  } catch (std::exception const& error) {
    log::error(error);
    mpi::Session::abort(static_cast<int>(log::exit_code(error)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string const mode = argc > 1 ? argv[1] : "";
  if (argc == 4 && (mode == "checkpoint" || mode == "checkpoint-killed")) {
    return write_checkpoint(argc, argv, mode == "checkpoint-killed");
  }
  try {
    if (argc == 5 && (mode == "dynamics" || mode == "dynamics-endless")) {
      write_dynamics(argv[2], std::atoll(argv[3]), std::atoll(argv[4]), mode == "dynamics-endless");
      return 0;
    }
  } catch (std::exception const& error) {
    log::error(error);
    return static_cast<int>(log::exit_code(error));
  }
  return 2;
}
