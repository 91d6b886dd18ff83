#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace jreg::store {

/// A new folder that appears with its name when it is complete: it is filled under another name beside that, which goes
/// away with this object unless commit() was called.
class OutputFolder {
public:
  /// May replace an empty folder, and with `overwrite` one of which `is_own` tells that it is such an output. Throws
  /// UserError, naming the option `option`, for anything else that is there; SystemError.
  OutputFolder(std::string const& option, std::filesystem::path path, bool overwrite,
               std::function<bool(std::filesystem::path const&)> const& is_own);
  OutputFolder(OutputFolder const&) = delete;
  OutputFolder& operator=(OutputFolder const&) = delete;
  ~OutputFolder();

  /// Where the content is written, and what the folder will be called.
  std::filesystem::path const& temporary() const noexcept { return temporary_; }
  std::filesystem::path const& path() const noexcept { return path_; }

  /// Gives `complete`, which is the temporary folder or lies within it, the final name, durably; its files must be on
  /// the disk. Throws SystemError.
  void commit(std::filesystem::path const& complete);

private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

/// Renames a folder; one that has the name already changes places with it, at once where the file system can do that,
/// and is then removed. Durable. Throws SystemError.
void put_in_place(std::filesystem::path const& complete, std::filesystem::path const& path);

}  // namespace jreg::store
