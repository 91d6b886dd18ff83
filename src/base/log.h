#pragma once

#include <fmt/format.h>

#include <exception>
#include <string_view>

#include "base/exit_code.h"

namespace jreg::log {

/// Lines go to standard error as "jreg: text"; the first rank alone prints information, every rank its warnings.
/// Before set_rank all lines are printed without a rank.
void set_rank(int rank, int size) noexcept;
int rank() noexcept;

void info_line(std::string_view text);
void warning_line(std::string_view text);

template <class... Args> void info(fmt::format_string<Args...> text, Args&&... args) {
  if (rank() == 0) info_line(fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args> void warning(fmt::format_string<Args...> text, Args&&... args) {
  warning_line(fmt::format(text, std::forward<Args>(args)...));
}
/// Prints an error with this rank's number (when there are several).
void error(std::exception const& error);
/// Writes a whole line (with its end) past stdio, whose lock a hanging thread may hold, and gives up after a second
/// where nobody reads. May be called in a signal handler.
void urgent_line(std::string_view line) noexcept;

/// The exit code an exception leads to.
ExitCode exit_code(std::exception const& error) noexcept;

}  // namespace jreg::log
