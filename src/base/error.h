#pragma once

#include <fmt/format.h>

#include <source_location>
#include <stdexcept>
#include <string>

#include "base/exit_code.h"
#include "base/expect.h"

namespace jreg {

/// Base of all errors of this program: one line of text and the exit code it leads to.
class Error : public std::runtime_error {
public:
  Error(ExitCode code, std::string const& text) : std::runtime_error{text}, code_{code} {}
  ExitCode code() const noexcept { return code_; }

private:
  ExitCode code_;
};

/// The user asked for something that cannot be: says which option, file or value, and what to change.
class UserError : public Error {
public:
  template <class... Args>
  explicit UserError(fmt::format_string<Args...> text, Args&&... args)
      : Error{ExitCode::usage, fmt::format(text, std::forward<Args>(args)...)} {}
};

/// An input is there, but wrong inside: names the file and what is wrong at which place.
class DataError : public Error {
public:
  template <class... Args>
  explicit DataError(fmt::format_string<Args...> text, Args&&... args)
      : Error{ExitCode::data, fmt::format(text, std::forward<Args>(args)...)} {}
};

/// The system, or a library below us, refused: carries place and its text.
class SystemError : public Error {
public:
  explicit SystemError(std::string const& text, ExitCode code = ExitCode::io,
                       std::source_location where = std::source_location::current());
};

/// SystemError from errno: "<action> <path>: <strerror>".
[[noreturn]] void throw_errno(std::string const& action, std::string const& path,
                              std::source_location where = std::source_location::current());

/// The numbers of the run itself went wrong (NaN, replicas that drift): exit code 70.
class NumericalError : public Error {
public:
  template <class... Args>
  explicit NumericalError(fmt::format_string<Args...> text, Args&&... args)
      : Error{ExitCode::internal, fmt::format(text, std::forward<Args>(args)...)} {}
};

/// An error that every rank throws at the same place with the same text, so that one rank prints it and all of them
/// end in order; any other error of one rank ends the others by force.
class AgreedError : public Error {
public:
  using Error::Error;
};

/// A broken invariant of this program: a bug.
class InternalError : public Error {
public:
  InternalError(std::string const& text, std::source_location where);
};

/// Checks an invariant that two values are equal, and shows them where they are not.
template <class A, class B>
void expect_equal(A const& a, B const& b, char const* what,
                  std::source_location where = std::source_location::current()) {
  if (!(a == b)) throw InternalError{fmt::format("{}: {} is not {}", what, a, b), where};
}

}  // namespace jreg
