#include "data/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace jreg::data {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20;

std::filesystem::path parent_of(std::filesystem::path const& path) {
  auto const parent = path.parent_path();
  return parent.empty() ? std::filesystem::path{"."} : parent;
}

void sync_folder(std::filesystem::path const& folder) {
  FileHandle const file{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!file || ::fsync(file.get()) != 0) throw_errno("cannot sync folder", folder.string());
}

}  // namespace

void make_parent_folder(std::filesystem::path const& path) {
  std::error_code error;
  std::filesystem::create_directories(parent_of(path), error);
  if (error) throw UserError("cannot create folder {}: {}", parent_of(path).string(), error.message());
}

OutputFile::OutputFile(std::filesystem::path path)
    : path_{std::move(path)}, temporary_{fmt::format("{}.tmp-{}", path_.string(), ::getpid())} {
  file_ = FileHandle{::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (!file_) throw_errno("cannot create", path_.string());
  buffer_.reserve(buffer_size);
}

OutputFile::~OutputFile() {
  std::error_code ignored;  // the error that led here is the one to report
  if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
}

void OutputFile::write(std::span<std::byte const> bytes) {
  while (!bytes.empty()) {
    std::size_t const count = std::min(bytes.size(), buffer_size - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    if (buffer_.size() == buffer_size) flush();
  }
}

void OutputFile::flush() {
  std::span<std::byte const> left{buffer_};
  while (!left.empty()) {
    auto const count = ::write(file_.get(), left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      throw SystemError{
          fmt::format("cannot write {}: {} after {} bytes", path_.string(), std::strerror(errno), written_)};
    }
    written_ += count;
    left = left.subspan(static_cast<std::size_t>(count));
  }
  buffer_.clear();
}

void OutputFile::sync() {
  flush();
  if (::fsync(file_.get()) != 0) throw_errno("cannot sync", path_.string());
  // Network file systems report a full disk or quota as late as here.
  if (::close(file_.release()) != 0) throw_errno("cannot close", path_.string());
}

void OutputFile::commit() {
  expect(!file_, "OutputFile::commit comes after sync");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_errno("cannot rename to", path_.string());
  temporary_.clear();
  sync_folder(parent_of(path_));
}

}  // namespace jreg::data
