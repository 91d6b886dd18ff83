#include "store/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/error.h"

namespace jreg::store {
namespace {

/// Reads up to bytes.size() bytes; 0 at the end of the file.
std::size_t read_some(Descriptor const& file, std::span<char> bytes, std::filesystem::path const& path) {
  for (;;) {
    ssize_t const got = ::read(file.get(), bytes.data(), bytes.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) throw_errno("read", path.string());
  }
}

std::string digits(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

struct HashStateDeleter {
  void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
};

}  // namespace

void DescriptorTraits::close(Raw raw) noexcept {
  ::close(raw);
}

Descriptor open_descriptor(std::filesystem::path const& path, int flags, unsigned mode) {
  int const raw = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (raw < 0) throw_errno("open", path.string());
  return Descriptor{raw};
}

void write_all(Descriptor const& file, std::string_view text, std::filesystem::path const& path) {
  while (!text.empty()) {
    ssize_t const done = ::write(file.get(), text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_errno(fmt::format("write {} bytes to", text.size()), path.string());
    text.remove_prefix(static_cast<std::size_t>(done));
  }
}

void write_at(Descriptor const& file, std::int64_t offset, std::span<std::byte const> bytes,
              std::filesystem::path const& path) {
  while (!bytes.empty()) {
    ssize_t const done = ::pwrite(file.get(), bytes.data(), bytes.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_errno(fmt::format("write {} bytes to", bytes.size()), path.string());
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
}

void read_at(Descriptor const& file, std::int64_t offset, std::span<std::byte> bytes,
             std::filesystem::path const& path) {
  while (!bytes.empty()) {
    ssize_t const got = ::pread(file.get(), bytes.data(), bytes.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(fmt::format("read {} bytes from", bytes.size()), path.string());
    if (got == 0) throw DataError("{}: ends at byte {}, {} bytes too early", path.string(), offset, bytes.size());
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
}

void make_folders(std::filesystem::path const& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) return;
  errno = error.value();
  throw_errno("create folder", folder.string());
}

void sync(std::filesystem::path const& path) {
  Descriptor const file = open_descriptor(path, O_RDONLY);
  // A file system that cannot sync folders answers EINVAL; there is nothing more to be done there.
  if (::fsync(file.get()) != 0 && errno != EINVAL) throw_errno("fsync", path.string());
}

void replace_file(std::filesystem::path const& path, std::string_view text) {
  std::filesystem::path beside = path;
  beside += ".tmp";
  try {
    {
      Descriptor const file = open_descriptor(beside, O_WRONLY | O_CREAT | O_TRUNC, 0666);
      write_all(file, text, beside);
      if (::fsync(file.get()) != 0) throw_errno("fsync", beside.string());
    }
    rename_durably(beside, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw;
  }
}

void rename_durably(std::filesystem::path const& from, std::filesystem::path const& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw_errno("rename " + from.string() + " to", to.string());
  sync(to.has_parent_path() ? to.parent_path() : ".");
}

void write_beside(std::filesystem::path const& path, std::function<void(std::filesystem::path const&)> const& write) {
  std::filesystem::path beside = path;
  beside += ".tmp";
  try {
    write(beside);
    sync(beside);
    rename_durably(beside, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw;
  }
}

std::string read_text(std::filesystem::path const& path, std::int64_t largest) {
  Descriptor const file = open_descriptor(path, O_RDONLY);
  std::string text;
  std::vector<char> piece(std::size_t{1} << 16);
  while (std::size_t const got = read_some(file, piece, path)) {
    text.append(piece.data(), got);
    if (text.size() > static_cast<std::size_t>(largest)) {
      throw DataError("{}: is longer than {} bytes", path.string(), largest);
    }
  }
  return text;
}

std::string hash_of(std::string_view bytes) {
  return digits(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string hash_file(std::filesystem::path const& path) {
  std::unique_ptr<XXH3_state_t, HashStateDeleter> const state{XXH3_createState()};
  expect(state != nullptr, "memory for a hash");
  XXH3_128bits_reset(state.get());
  Descriptor const file = open_descriptor(path, O_RDONLY);
  std::vector<char> piece(std::size_t{4} << 20);
  while (std::size_t const got = read_some(file, piece, path)) XXH3_128bits_update(state.get(), piece.data(), got);
  return digits(XXH3_128bits_digest(state.get()));
}

}  // namespace jreg::store
