#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"

namespace jreg::data {

/// The files that `inputs` name, in the order given; of a folder all files in it and below, sorted by path, without
/// hidden ones. Throws UserError for a path that is not there and a folder without files.
std::vector<std::filesystem::path> list_files(std::vector<std::string> const& inputs);

/// How files are cut into documents.
struct CorpusLayout {
  std::string jsonl_field;  // each line is a JSON object whose field of this name is a document; "": plain text
  std::int64_t document_bytes =
      0;  // plain text: a document ends at the first line end after so many bytes; 0: with its file
};

/// A document or a part of a long one. JSON lines are still whole lines here.
struct CorpusPart {
  std::string text;
  std::size_t file = 0;     // index among the files
  std::int64_t offset = 0;  // byte of the file where `text` begins
  std::int64_t line = 0;    // JSON lines: number of the line, from 1
  bool begins_document = true;
  bool ends_document = true;
};

/// (text, from) -> the first position >= from where text may be cut, std::string_view::npos when there is none.
using CutRule = std::function<std::size_t(std::string_view, std::size_t)>;

/// Reads files part by part, in order; holds some MiB at a time, however long the files are. A byte order mark at the
/// beginning of a file is left out.
class CorpusReader {
public:
  /// Long documents are cut where `cut` allows it; a text that offers no such place for 1 MiB is cut between two
  /// characters. `files` must outlive the reader.
  CorpusReader(std::vector<std::filesystem::path> const& files, CorpusLayout layout, CutRule cut);

  /// False at the end. Throws UserError for a file that is gone, SystemError for one that cannot be read, DataError for
  /// a JSON line beyond 256 MiB.
  bool next(CorpusPart& part);

private:
  std::string_view unread() const noexcept { return std::string_view{buffer_}.substr(begin_); }
  void open();
  void fill(std::size_t bytes);
  bool next_text(CorpusPart& part);
  bool next_line(CorpusPart& part);
  void take(std::size_t bytes, CorpusPart& part);

  std::vector<std::filesystem::path> const& files_;
  CorpusLayout layout_;
  CutRule cut_;
  std::size_t file_ = 0;
  FileHandle handle_;
  bool at_end_ = false;  // the file gives no more bytes
  std::string buffer_;   // bytes read; those before begin_ are given out
  std::size_t begin_ = 0;
  std::int64_t offset_ = 0;  // of begin_ in the file
  std::int64_t line_ = 0;
  std::int64_t in_document_ = 0;  // bytes of the current document given out
};

/// The text of field `field` of the JSON object in `line`. Throws DataError beginning with `place`.
std::string json_text(std::string_view line, std::string const& field, std::string const& place);

}  // namespace jreg::data
