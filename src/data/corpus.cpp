#include "data/corpus.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/utf8.h"

namespace jreg::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t part_bytes = std::size_t{256} << 10;    // parts are about so long
constexpr std::size_t longest_part = std::size_t{1} << 20;    // and never longer than this
constexpr std::size_t longest_line = std::size_t{256} << 20;  // of JSON
constexpr std::size_t read_bytes = std::size_t{1} << 20;
constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

std::vector<fs::path> walk(fs::path const& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator{folder, error};
  for (; !error && entry != fs::recursive_directory_iterator{}; entry.increment(error)) {
    bool const hidden = entry->path().filename().string().starts_with(".");
    if (hidden) entry.disable_recursion_pending();
    if (!hidden && entry->is_regular_file(error)) files.push_back(entry->path());
    if (error) break;
  }
  if (error) throw SystemError{fmt::format("cannot read folder {}: {}", folder.string(), error.message())};
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::vector<fs::path> list_files(std::vector<std::string> const& inputs) {
  std::vector<fs::path> files;
  for (std::string const& input : inputs) {
    std::error_code error;
    if (fs::is_directory(input, error)) {
      auto const found = walk(input);
      if (found.empty()) throw UserError("{}: no files in this folder", input);
      files.insert(files.end(), found.begin(), found.end());
    } else if (fs::exists(input, error)) {
      files.emplace_back(input);
    } else {
      throw UserError("{}: no such file or folder", input);
    }
  }
  return files;
}

CorpusReader::CorpusReader(std::vector<fs::path> const& files, CorpusLayout layout, CutRule cut)
    : files_{files}, layout_{std::move(layout)}, cut_{std::move(cut)} {}

void CorpusReader::open() {
  handle_ = open_for_reading(files_[file_]);
  at_end_ = false;
  buffer_.clear();
  begin_ = 0;
  offset_ = line_ = in_document_ = 0;
  fill(byte_order_mark.size());
  if (unread().starts_with(byte_order_mark)) {
    begin_ = byte_order_mark.size();
    offset_ = std::ssize(byte_order_mark);
  }
}

void CorpusReader::fill(std::size_t bytes) {
  if (at_end_ || unread().size() >= bytes) return;
  buffer_.erase(0, std::exchange(begin_, 0));
  while (!at_end_ && buffer_.size() < bytes) {
    std::size_t const before = buffer_.size();
    buffer_.resize(before + read_bytes);
    auto const count = ::read(handle_.get(), buffer_.data() + before, read_bytes);
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count < 0 && errno != EINTR) throw_errno("cannot read", files_[file_].string());
    at_end_ = count == 0;
  }
}

bool CorpusReader::next(CorpusPart& part) {
  while (file_ < files_.size()) {
    if (!handle_) open();
    if (layout_.jsonl_field.empty() ? next_text(part) : next_line(part)) return true;
    handle_ = FileHandle{};
    ++file_;
  }
  return false;
}

void CorpusReader::take(std::size_t bytes, CorpusPart& part) {
  part.text = unread().substr(0, bytes);
  part.file = file_;
  part.offset = offset_;
  begin_ += part.text.size();
  offset_ += std::ssize(part.text);
}

bool CorpusReader::next_text(CorpusPart& part) {
  fill(longest_part + 1);
  auto const text = unread();
  if (text.empty()) return false;
  std::size_t end = text.size();  // of the part
  if (end > part_bytes) {
    std::size_t const cut = cut_(text, part_bytes);
    if (cut <= longest_part) {
      end = cut;
    } else if (end > longest_part) {
      end = utf8_boundary(text, longest_part);
    }
  }
  bool ends = at_end_ && end == text.size();
  if (layout_.document_bytes > 0) {
    auto const wanted = std::max<std::int64_t>(layout_.document_bytes - in_document_ - 1, 0);
    auto const line_end = text.find('\n', static_cast<std::size_t>(wanted));
    if (line_end < end) {
      end = line_end + 1;
      ends = true;
    }
  }
  take(end, part);
  part.begins_document = in_document_ == 0;
  part.ends_document = ends;
  in_document_ = ends ? 0 : in_document_ + static_cast<std::int64_t>(end);
  return true;
}

bool CorpusReader::next_line(CorpusPart& part) {
  for (;;) {
    auto end = unread().find('\n');
    while (end == std::string_view::npos && !at_end_ && unread().size() <= longest_line) {
      std::size_t const searched = unread().size();
      fill(searched + 1);
      end = unread().find('\n', searched);
    }
    if (unread().empty()) return false;
    ++line_;
    std::size_t const size = std::min(end, unread().size());
    if (size > longest_line) {
      throw DataError("{}:{}: the line is longer than {} MiB; is this a file of JSON lines?", files_[file_].string(),
                      line_, longest_line >> 20);
    }
    take(size + 1, part);
    part.line = line_;
    part.begins_document = part.ends_document = true;
    if (part.text.find_first_not_of(" \t\r\n") != std::string::npos) return true;
  }
}

std::string json_text(std::string_view line, std::string const& field, std::string const& place) {
  auto const value = nlohmann::json::parse(line, nullptr, false);
  if (value.is_discarded()) throw DataError("{}: not a line of JSON in UTF-8", place);
  if (!value.is_object()) throw DataError("{}: a JSON {} instead of an object", place, value.type_name());
  auto const found = value.find(field);
  if (found == value.end()) throw DataError("{}: no field \"{}\"; set --jsonl-field to the text's name", place, field);
  if (!found->is_string()) throw DataError("{}: field \"{}\" holds no text but a {}", place, field, found->type_name());
  return found->get<std::string>();
}

}  // namespace jreg::data
