#include "store/run_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

/// log.jsonl, with an end of line behind what a killed run may have left of its last one.
Descriptor open_log(fs::path const& file) {
  Descriptor log = open_descriptor(file, O_RDWR | O_CREAT | O_APPEND, 0666);
  struct stat status {};
  if (::fstat(log.get(), &status) != 0) throw_errno("look at", file.string());
  char last = '\n';
  if (status.st_size > 0 && ::pread(log.get(), &last, 1, status.st_size - 1) != 1) throw_errno("read", file.string());
  if (last != '\n') write_all(log, "\n", file);
  return log;
}

}  // namespace

RunFolder::RunFolder(fs::path folder) : folder_{std::move(folder)} {
  make_folders(folder_ / "checkpoints");
  lock_ = std::make_unique<RunLock>(folder_);
  log_ = open_log(folder_ / "log.jsonl");
}

void RunFolder::write_config(std::string const& text) const {
  replace_file(folder_ / "config.cfg", text);
}

void RunFolder::append_log(nlohmann::json const& object) {
  expect(object.is_object(), "a log line is an object");
  // One write for the whole line: readers never see half of it.
  write_all(log_, object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", folder_ / "log.jsonl");
}

}  // namespace jreg::store
