#pragma once

#include <source_location>

namespace jreg::mpi {

/// Throws SystemError (exit code 75) with MPI's own text unless `code` is MPI_SUCCESS.
void check(int code, std::source_location where = std::source_location::current());

}  // namespace jreg::mpi
