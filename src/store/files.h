#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/handle.h"

// Files as the system sees them: durable writes and hashes.
namespace jreg::store {

struct DescriptorTraits {
  using Raw = int;
  static Raw null() { return -1; }
  static void close(Raw raw) noexcept;
};
using Descriptor = UniqueHandle<DescriptorTraits>;

/// Opens; throws UserError where the path is not there, SystemError otherwise.
Descriptor open_descriptor(std::filesystem::path const& path, int flags, unsigned mode = 0);

/// Writes all of `text`. Throws SystemError.
void write_all(Descriptor const& file, std::string_view text, std::filesystem::path const& path);

/// Writes all of `bytes` from byte `offset` of the file on. Throws SystemError.
void write_at(Descriptor const& file, std::int64_t offset, std::span<std::byte const> bytes,
              std::filesystem::path const& path);

/// Fills `bytes` from byte `offset` of the file on. Throws DataError where the file ends before that, SystemError.
void read_at(Descriptor const& file, std::int64_t offset, std::span<std::byte> bytes,
             std::filesystem::path const& path);

/// Makes a folder and those above it where they are missing. Throws SystemError.
void make_folders(std::filesystem::path const& folder);

/// Waits until a file's data, or a folder's entries, are on the disk. Throws SystemError.
void sync(std::filesystem::path const& path);

/// Replaces `path` at once and durably: readers see the old text or the new one. Throws SystemError.
void replace_file(std::filesystem::path const& path, std::string_view text);

/// Renames and makes it durable. Throws SystemError.
void rename_durably(std::filesystem::path const& from, std::filesystem::path const& to);

/// Makes the file `path` whole or not at all: `write` makes it under the name it is given, beside `path`; then it is
/// synced and renamed. Nothing is left behind where any of that throws.
void write_beside(std::filesystem::path const& path, std::function<void(std::filesystem::path const&)> const& write);

/// The whole text of a file of at most `largest` bytes. Throws UserError where it is not there, DataError where it is
/// larger, SystemError where the system refuses.
std::string read_text(std::filesystem::path const& path, std::int64_t largest);

/// XXH3-128 as 32 hexadecimal digits, of bytes and of a file's content.
std::string hash_of(std::string_view bytes);
std::string hash_file(std::filesystem::path const& path);

}  // namespace jreg::store
