#include "data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"

namespace jreg::data {

FileHandle open_for_reading(std::filesystem::path const& path) {
  FileHandle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) throw_errno("cannot open", path.string());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno("cannot read", path.string());
  if (S_ISDIR(status.st_mode)) throw UserError("{}: is a folder, not a file", path.string());
  return file;
}

MappedFile::MappedFile(std::filesystem::path const& path) {
  FileHandle const file = open_for_reading(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno("cannot read", path.string());
  if (!S_ISREG(status.st_mode)) throw UserError("{}: is not a regular file", path.string());
  if (status.st_size == 0) return;
  auto const size = static_cast<std::size_t>(status.st_size);
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) throw_errno("cannot map", path.string());
  bytes_ = {static_cast<std::byte const*>(address), size};
}

MappedFile::~MappedFile() {
  // munmap takes void*, although it changes nothing that was mapped read-only.
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace jreg::data
