#include "store/output_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "store/files.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

/// Without a slash at its end.
fs::path without_slash(fs::path const& path) {
  fs::path const normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

OutputFolder::OutputFolder(std::string const& option, fs::path path, bool overwrite,
                           std::function<bool(fs::path const&)> const& is_own)
    : path_{without_slash(path)} {
  std::error_code error;
  if (!path_.has_filename() || path_.filename() == "." || path_.filename() == "..") {
    throw UserError("{} {}: needs the name of a new folder", option, path.string());
  }
  if (fs::exists(fs::symlink_status(path_, error))) {
    bool const folder = fs::is_directory(fs::symlink_status(path_, error));
    bool const own = folder && is_own(path_);
    if (!(folder && fs::is_empty(path_, error)) && !(own && overwrite)) {
      throw UserError("{} {}: is there already; choose another name{}", option, path_.string(),
                      own         ? " or add --overwrite"
                      : overwrite ? ": it is no output of this command, which --overwrite could replace"
                                  : "");
    }
  }
  temporary_ = path_;
  temporary_ += fmt::format(".tmp-{}", ::getpid());
  fs::remove_all(temporary_, error);  // of a killed process that had this number
  make_folders(temporary_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;  // the error that led here is the one to report
  fs::remove_all(temporary_, ignored);
}

void OutputFolder::commit(fs::path const& complete) {
  sync(complete);
  put_in_place(complete, path_);
}

void put_in_place(fs::path const& complete, fs::path const& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return rename_durably(complete, path);
  fs::path trash = path;
  trash.replace_filename(".trash-" + path.filename().string());
  fs::remove_all(trash, ignored);  // left by a process that was killed here
  if (::renameat2(AT_FDCWD, complete.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    sync(path.has_parent_path() ? path.parent_path() : ".");
    rename_durably(complete, trash);
  } else {
    rename_durably(path, trash);
    rename_durably(complete, path);
  }
  fs::remove_all(trash, ignored);
}

}  // namespace jreg::store
