#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace jreg::store {

/// What a path of this program's files is.
enum class FileKind { run_folder, checkpoint_folder, checkpoint_file, table_file };  // the last: dynamics or analysis

/// Nothing when it is none of these. Throws UserError when the path is not there.
std::optional<FileKind> kind_of(std::filesystem::path const& path);

/// Some lines on what the path holds. Throws DataError naming the file where it is damaged. A table file is read by a
/// child process (base/child_process.h).
std::string describe(std::filesystem::path const& path, FileKind kind);

struct Verdict {
  std::vector<std::string> good;    // one line per thing that was checked and is whole
  std::vector<std::string> faults;  // one line per damaged or missing file, naming it
};

/// Checks sizes and hashes of checkpoints, and the structure of table files, which have no hash.
Verdict verify(std::filesystem::path const& path, FileKind kind);

}  // namespace jreg::store
