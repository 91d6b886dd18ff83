#include "h5/handle.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "base/error.h"

namespace jreg::h5 {
namespace {

struct Record {
  std::string function;
  std::string text;
};

herr_t collect(unsigned, H5E_error2_t const* error, void* records) noexcept {
  std::string text = error->desc ? error->desc : "";
  // What follows the system's error text are addresses and sizes inside the library.
  text = text.substr(0, text.find(", buf = "));
  // HDF5 puts ctime()'s line end into its texts.
  std::ranges::replace(text, '\n', ' ');
  static_cast<std::vector<Record>*>(records)->push_back({error->func_name ? error->func_name : "", std::move(text)});
  return 0;
}

}  // namespace

void initialize() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Before anything else of the library runs: afterwards it has no effect.
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  });
}

std::string library_version() {
  initialize();
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  check(H5get_libversion(&major, &minor, &release), "ask HDF5 for its version");
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string error_text() {
  std::vector<Record> records;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &records);
  H5Eclear2(H5E_DEFAULT);
  if (records.empty()) return "HDF5 tells no reason";
  std::string text = records.back().function + ": " + records.front().text;
  if (records.size() > 1 && records.back().text != records.front().text) text += " (" + records.back().text + ")";
  return text;
}

hid_t check(hid_t id, std::string_view action, std::source_location where) {
  if (id < 0) throw SystemError{fmt::format("{}: {}", action, error_text()), ExitCode::io, where};
  return id;
}

int check(herr_t status, std::string_view action, std::source_location where) {
  if (status < 0) throw SystemError{fmt::format("{}: {}", action, error_text()), ExitCode::io, where};
  return status;
}

std::string name_of(hid_t id) {
  auto const text_of = [id](auto get) {
    ssize_t const size = get(id, nullptr, std::size_t{0});
    std::string text(size > 0 ? static_cast<std::size_t>(size) + 1 : 1, '\0');
    if (size > 0) get(id, text.data(), text.size());
    text.pop_back();
    return text;
  };
  std::string const name = text_of(H5Iget_name);
  std::string const file = text_of(H5Fget_name);
  return name.empty() || name == "/" ? file : file + ":" + name;
}

}  // namespace jreg::h5
