#include "base/child_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "base/handle.h"

namespace jreg {
namespace {

struct DescriptorTraits {
  using Raw = int;
  static Raw null() { return -1; }
  static void close(Raw descriptor) noexcept { ::close(descriptor); }
};
using Descriptor = UniqueHandle<DescriptorTraits>;

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    ssize_t const written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) ::_exit(1);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> part;
  for (;;) {
    ssize_t const count = ::read(descriptor, part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(count));
  }
}

/// Answers with the exit code as one byte, then the text or the error's message.
[[noreturn]] void run_child(int answer, std::function<std::string()> const& work, int cpu_seconds) {
  rlimit const no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  auto const seconds = static_cast<rlim_t>(cpu_seconds);
  rlimit const time{seconds, seconds + 1};
  ::setrlimit(RLIMIT_CPU, &time);
  std::string text;
  auto code = ExitCode::done;
  try {
    text = work();
  } catch (Error const& error) {
    code = error.code();
    text = error.what();
  } catch (std::exception const& error) {
    code = ExitCode::internal;
    text = error.what();
  }
  write_all(answer, static_cast<char>(code) + text);
  ::_exit(0);
}

std::string how_it_ended(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("reading it ended with code {}", WEXITSTATUS(status));
  if (WTERMSIG(status) == SIGXCPU) return "reading it finds no end";
  return fmt::format("reading it crashes (signal {})", WTERMSIG(status));
}

}  // namespace

std::string in_child_process(std::string const& subject, std::function<std::string()> const& work, int cpu_seconds) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("cannot make a pipe to read", subject);
  Descriptor const from_child{ends[0]};
  Descriptor to_parent{ends[1]};
  std::fflush(nullptr);  // what is buffered must not be written twice
  pid_t const child = ::fork();
  if (child < 0) throw_errno("cannot make a process to read", subject);
  if (child == 0) run_child(to_parent.get(), work, cpu_seconds);
  to_parent = Descriptor{};
  std::string const answer = read_all(from_child.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0 || answer.empty()) throw DataError("{}: is damaged: {}", subject, how_it_ended(status));
  auto const code = static_cast<ExitCode>(answer.front());
  if (code == ExitCode::done) return answer.substr(1);
  if (code == ExitCode::data) throw DataError("{}", answer.substr(1));
  throw Error{code, answer.substr(1)};
}

}  // namespace jreg
