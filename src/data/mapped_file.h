#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "base/handle.h"

namespace jreg::data {

struct FileTraits {
  using Raw = int;
  static Raw null() { return -1; }
  static void close(Raw raw) noexcept { ::close(raw); }
};
/// Owns a file descriptor.
using FileHandle = UniqueHandle<FileTraits>;

/// A whole file, mapped read-only; empty for an empty file.
class MappedFile {
public:
  /// Of no file: empty.
  MappedFile() = default;
  /// Throws UserError when there is no such file or it is a folder, SystemError when the system refuses to read it.
  explicit MappedFile(std::filesystem::path const& path);
  MappedFile(MappedFile&& from) noexcept : bytes_{std::exchange(from.bytes_, {})} {}
  MappedFile& operator=(MappedFile from) noexcept {
    std::swap(bytes_, from.bytes_);
    return *this;
  }
  ~MappedFile();

  std::span<std::byte const> bytes() const noexcept { return bytes_; }

private:
  std::span<std::byte const> bytes_;
};

/// Opens a regular file, pipe or device for reading. Throws as MappedFile does.
FileHandle open_for_reading(std::filesystem::path const& path);

}  // namespace jreg::data
