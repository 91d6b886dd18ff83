#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"

namespace jreg::data {

/// A file that appears under its name only when it is complete: written under a temporary name in the same folder,
/// fsynced, renamed. The temporary one is removed with this object unless commit() was reached.
/// Every failure of the system is a SystemError naming path and reason.
class OutputFile {
public:
  explicit OutputFile(std::filesystem::path path);
  OutputFile(OutputFile const&) = delete;
  OutputFile& operator=(OutputFile const&) = delete;
  ~OutputFile();

  void write(std::span<std::byte const> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span{text.data(), text.size()})); }
  /// Everything written is on the disk after this; nothing may be written any more.
  void sync();
  /// Gives the synced file its name, in place of an older one, and makes that durable.
  void commit();

private:
  void flush();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  FileHandle file_;
  std::vector<std::byte> buffer_;
  std::int64_t written_ = 0;
};

/// Makes the folder that `path` lies in. Throws UserError when that cannot be.
void make_parent_folder(std::filesystem::path const& path);

}  // namespace jreg::data
