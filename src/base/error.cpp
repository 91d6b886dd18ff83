#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <string_view>

namespace jreg {
namespace {

std::string place(std::source_location where) {
  std::string_view file{where.file_name()};
  if (auto const slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return fmt::format("{}:{}", file, where.line());
}

}  // namespace

SystemError::SystemError(std::string const& text, ExitCode code, std::source_location where)
    : Error{code, fmt::format("{} [{}]", text, place(where))} {}

void throw_errno(std::string const& action, std::string const& path, std::source_location where) {
  int const error = errno;
  // A path that is not there is the user's to mend; anything else is the system's refusal.
  if (error == ENOENT || error == ENOTDIR) {
    throw UserError("{} {}: {}", action, path, std::strerror(error));
  }
  throw SystemError{fmt::format("{} {}: {}", action, path, std::strerror(error)), ExitCode::io, where};
}

InternalError::InternalError(std::string const& text, std::source_location where)
    : Error{ExitCode::internal, fmt::format("internal error at {}: {}", place(where), text)} {}

void broken_invariant(char const* what, std::source_location where) {
  throw InternalError{what, where};
}

}  // namespace jreg
