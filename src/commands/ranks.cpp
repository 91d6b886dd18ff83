#include "commands/ranks.h"

#include <chrono>
#include <thread>

#include "base/log.h"
#include "mpi/launch.h"
#include "mpi/session.h"

namespace jreg::commands {

int run_on_ranks(std::function<ExitCode(mpi::Communicator const& world)> const& body) {
  int argc = 0;
  char** argv = nullptr;
  try {
    mpi::settle_task_without_mpi();
  } catch (UserError const& error) {
    return refuse(error);
  }
  mpi::Session session{argc, argv};
  log::set_rank(session.rank(), session.size());
  try {
    mpi::refuse_split_launch(session.size());
  } catch (UserError const& error) {
    return refuse(error);
  }
  try {
    return static_cast<int>(body(mpi::Communicator::duplicate(MPI_COMM_WORLD)));
  } catch (AgreedError const& error) {
    if (session.rank() == 0) log::error(error);
    return static_cast<int>(error.code());
  } catch (std::exception const& error) {
    log::error(error);
    ExitCode const code = log::exit_code(error);
    // Alone there is nobody to end by force; but after a failed write a normal exit crashes inside HDF5.
    if (session.size() == 1 && code != ExitCode::io) return static_cast<int>(code);
    mpi::Session::abort(static_cast<int>(code));
  }
}

int refuse(Error const& error) {
  if (mpi::launched_rank() == 0) {
    log::error(error);
  } else {
    // Time for the first rank to tell: launchers end all ranks as soon as one has left.
    std::this_thread::sleep_for(std::chrono::seconds{5});
  }
  return static_cast<int>(error.code());
}

}  // namespace jreg::commands
