#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string>
#include <string_view>

#include "base/error.h"

// What the fuzz targets share. A target gives libFuzzer's bytes to a parser of foreign files and looks for crashes,
// for errors that are none of this program's, and for accepted inputs that mean something else the second time.
namespace jreg::fuzz {

/// Ends the process, so that the input is kept, unless a property holds.
inline void must_hold(bool holds, char const* property, std::source_location where = std::source_location::current()) {
  if (holds) return;
  ::dprintf(STDERR_FILENO, "%s:%u: does not hold: %s\n", where.file_name(), static_cast<unsigned>(where.line()),
            property);
  std::abort();
}

/// Runs `action`; false when it refuses its input as it should. Every other exception, a broken invariant among them,
/// ends the process.
template <class Action> bool accepts(Action&& action) {
  try {
    action();
    return true;
  } catch (UserError const& refusal) {
    must_hold(!std::string_view{refusal.what()}.empty(), "a refusal says why");
  } catch (DataError const& refusal) {
    must_hold(!std::string_view{refusal.what()}.empty(), "a refusal says why");
  }
  return false;
}

inline std::string_view text_of(std::uint8_t const* data, std::size_t size) {
  return {reinterpret_cast<char const*>(data), size};
}

/// A file that exists in memory only.
class MemoryFile {
public:
  explicit MemoryFile(std::string_view content) : descriptor_{::memfd_create("fuzz", MFD_CLOEXEC)} {
    must_hold(::write(descriptor_, content.data(), content.size()) == static_cast<ssize_t>(content.size()),
              "memory takes the file");
  }
  MemoryFile(MemoryFile const&) = delete;
  MemoryFile& operator=(MemoryFile const&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
  int descriptor_;
};

}  // namespace jreg::fuzz
