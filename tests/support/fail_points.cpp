// Faults at the edges of system calls, for tests: linked into a program, it stands before the system's calls that
// change files, whoever makes them (HDF5 and the C++ library as well). The environment variable JREG_FAIL_POINT names
// one edge:
//
//   JREG_FAIL_POINT="WHEN CALL PATH [rank=R] [count=N] ACTION"
//
//   WHEN    before | after
//   CALL    create | write | truncate | sync | rename | remove | mkdir, or a pattern of them
//   PATH    pattern (fnmatch) of the last parts of the path: "latest", "step_*/rank_00001.h5"; of a rename the new name
//   rank=R  on this rank alone (default: each)        count=N  at the N-th such call of a process (default 1)
//   ACTION  kill (SIGKILL), or ENOSPC | EDQUOT | EIO: this call and all such calls after it fail
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Point {
  bool after = false;
  std::string call;
  std::string path;
  int rank = -1;
  long count = 1;
  bool kill = false;  // or
  int error = 0;
};

[[noreturn]] void refuse(std::string const& text) {
  std::fprintf(stderr, "JREG_FAIL_POINT=\"%s\": see tests/support/fail_points.cpp\n", text.c_str());
  std::_Exit(2);
}

int launched_rank() {
  for (char const* const name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (char const* const value = std::getenv(name)) return std::atoi(value);
  }
  return 0;
}

Point parse(std::string const& text) {
  std::map<std::string, int> const errors{{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}};
  Point point;
  std::istringstream words{text};
  std::string when;
  if (!(words >> when >> point.call >> point.path) || (when != "before" && when != "after")) refuse(text);
  point.after = when == "after";
  for (std::string word; words >> word;) {
    if (word.starts_with("rank=")) {
      point.rank = std::atoi(word.c_str() + 5);
    } else if (word.starts_with("count=")) {
      point.count = std::atol(word.c_str() + 6);
    } else if (word == "kill") {
      point.kill = true;
    } else if (auto const error = errors.find(word); error != errors.end()) {
      point.error = error->second;
    } else {
      refuse(text);
    }
  }
  // A call that was made has not failed.
  if (point.kill == (point.error != 0) || (point.error != 0 && point.after) || point.count < 1) refuse(text);
  return point;
}

/// The point of this rank, where there is one.
Point const* point() {
  static std::optional<Point> const parsed = []() -> std::optional<Point> {
    char const* const text = std::getenv("JREG_FAIL_POINT");
    if (text == nullptr || *text == '\0') return std::nullopt;
    Point point = parse(text);
    if (point.rank >= 0 && point.rank != launched_rank()) return std::nullopt;
    return point;
  }();
  return parsed ? &*parsed : nullptr;
}

/// As many of the last parts of `path` as `pattern` has.
std::string tail_like(std::string const& path, std::string const& pattern) {
  auto parts = std::ranges::count(pattern, '/') + 1;
  std::size_t begin = path.size();
  while (parts > 0 && begin > 0) {
    begin = path.rfind('/', begin - 1);
    if (begin == std::string::npos) return path;
    --parts;
  }
  return path.substr(begin + 1);
}

bool matches(Point const& point, char const* call, std::string const& path) {
  static std::atomic<long> seen{0};
  if (fnmatch(point.call.c_str(), call, 0) != 0) return false;
  if (fnmatch(point.path.c_str(), tail_like(path, point.path).c_str(), FNM_PATHNAME) != 0) return false;
  long const number = ++seen;
  return point.error != 0 ? number >= point.count : number == point.count;
}

/// Makes `call` with what the point asks for before or after it.
template <class Path, class Call> auto at_edge(char const* name, Path&& path, Call&& call) -> decltype(call()) {
  int const entered = errno;
  Point const* const here = point();
  bool const hit = here != nullptr && matches(*here, name, path());
  errno = entered;
  if (hit && here->error != 0) {
    errno = here->error;
    return -1;
  }
  if (hit && !here->after) std::raise(SIGKILL);
  auto const result = call();
  int const left = errno;
  if (hit && here->after) std::raise(SIGKILL);
  errno = left;
  return result;
}

std::string path_of(int descriptor) {
  if (descriptor == AT_FDCWD) return ".";
  std::array<char, PATH_MAX> path{};
  ssize_t const size = readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path.data(), path.size());
  return size < 0 ? "" : std::string(path.data(), static_cast<std::size_t>(size));
}

std::string path_at(int folder, char const* path) {
  return *path == '/' ? path : path_of(folder) + "/" + path;
}

/// The system's own function of this name.
template <class Function> Function* next(char const* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

template <class Open> int open_at(int folder, char const* path, int flags, Open&& open) {
  if ((flags & O_CREAT) == 0) return open();
  return at_edge(
      "create", [&] { return path_at(folder, path); }, open);
}

template <class Call> auto on_descriptor(char const* name, int descriptor, Call&& call) {
  return at_edge(
      name, [&] { return path_of(descriptor); }, call);
}

mode_t mode_of(va_list& arguments, int flags) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

int open(char const* path, int flags, ...) {
  static auto* const real = next<int(char const*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  mode_t const mode = mode_of(arguments, flags);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, [&] { return real(path, flags, mode); });
}

int open64(char const* path, int flags, ...) {
  static auto* const real = next<int(char const*, int, ...)>("open64");
  va_list arguments;
  va_start(arguments, flags);
  mode_t const mode = mode_of(arguments, flags);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, [&] { return real(path, flags, mode); });
}

ssize_t write(int file, void const* data, std::size_t size) {
  static auto* const real = next<ssize_t(int, void const*, std::size_t)>("write");
  return on_descriptor("write", file, [&] { return real(file, data, size); });
}

ssize_t pwrite(int file, void const* data, std::size_t size, off_t at) {
  static auto* const real = next<ssize_t(int, void const*, std::size_t, off_t)>("pwrite");
  return on_descriptor("write", file, [&] { return real(file, data, size, at); });
}

ssize_t pwrite64(int file, void const* data, std::size_t size, off64_t at) {
  static auto* const real = next<ssize_t(int, void const*, std::size_t, off64_t)>("pwrite64");
  return on_descriptor("write", file, [&] { return real(file, data, size, at); });
}

int ftruncate(int file, off_t size) noexcept {
  static auto* const real = next<int(int, off_t)>("ftruncate");
  return on_descriptor("truncate", file, [&] { return real(file, size); });
}

int ftruncate64(int file, off64_t size) noexcept {
  static auto* const real = next<int(int, off64_t)>("ftruncate64");
  return on_descriptor("truncate", file, [&] { return real(file, size); });
}

int fsync(int file) {
  static auto* const real = next<int(int)>("fsync");
  return on_descriptor("sync", file, [&] { return real(file); });
}

int rename(char const* from, char const* to) noexcept {
  static auto* const real = next<int(char const*, char const*)>("rename");
  return at_edge(
      "rename", [&] { return path_at(AT_FDCWD, to); }, [&] { return real(from, to); });
}

int renameat2(int from_folder, char const* from, int to_folder, char const* to, unsigned flags) noexcept {
  static auto* const real = next<int(int, char const*, int, char const*, unsigned)>("renameat2");
  return at_edge(
      "rename", [&] { return path_at(to_folder, to); }, [&] { return real(from_folder, from, to_folder, to, flags); });
}

int unlinkat(int folder, char const* path, int flags) noexcept {
  static auto* const real = next<int(int, char const*, int)>("unlinkat");
  return at_edge(
      "remove", [&] { return path_at(folder, path); }, [&] { return real(folder, path, flags); });
}

int mkdir(char const* path, mode_t mode) noexcept {
  static auto* const real = next<int(char const*, mode_t)>("mkdir");
  return at_edge(
      "mkdir", [&] { return path_at(AT_FDCWD, path); }, [&] { return real(path, mode); });
}

}  // extern "C"
