#include "mpi/check.h"

#include <mpi.h>

#include <array>
#include <string>

#include "base/error.h"

namespace jreg::mpi {

void check(int code, std::source_location where) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw SystemError{"MPI: " + std::string{text.data(), static_cast<std::size_t>(length)}, ExitCode::retry, where};
}

}  // namespace jreg::mpi
