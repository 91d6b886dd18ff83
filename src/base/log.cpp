#include "base/log.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <string>

#include "base/error.h"

namespace jreg::log {
namespace {

struct Place {
  int rank = 0;
  int size = 1;
};
Place place;

void write_line(std::string const& line) {
  // One write per line, so that lines of several ranks never mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

std::string prefix() {
  return place.size > 1 ? fmt::format("jreg[{}]", place.rank) : std::string{"jreg"};
}

}  // namespace

void set_rank(int rank, int size) noexcept {
  place = {rank, size};
}
int rank() noexcept {
  return place.rank;
}

void info_line(std::string_view text) {
  write_line(fmt::format("jreg: {}\n", text));
}
void warning_line(std::string_view text) {
  write_line(fmt::format("{}: warning: {}\n", prefix(), text));
}
void error(std::exception const& error) {
  write_line(fmt::format("{}: error: {}\n", prefix(), error.what()));
}

void urgent_line(std::string_view line) noexcept {
  pollfd ready{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  constexpr int patience_ms = 1000;
  if (::poll(&ready, 1, patience_ms) != 1) return;
  [[maybe_unused]] auto const written = ::write(STDERR_FILENO, line.data(), line.size());
}

ExitCode exit_code(std::exception const& error) noexcept {
  if (auto const* ours = dynamic_cast<Error const*>(&error)) return ours->code();
  return ExitCode::internal;
}

}  // namespace jreg::log
