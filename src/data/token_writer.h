#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/output_file.h"

namespace jreg::data {

/// Writes PREFIX.bin and PREFIX.idx (Megatron's indexed dataset; one sequence per document), tokens as u16 where the
/// vocabulary is below 65500, else as i32. Neither file is there under its name before commit(); without it nothing is
/// left behind. A full disk is a SystemError.
class TokenWriter {
public:
  TokenWriter(std::string const& prefix, std::int64_t vocab);

  /// Appends tokens to the current document. Each is in [0, vocab).
  void add(std::span<std::int32_t const> tokens);
  /// Ends the current document.
  void end_document();

  std::int64_t tokens() const noexcept { return tokens_; }
  std::int64_t documents() const noexcept { return static_cast<std::int64_t>(documents_.size()) - 1; }

  /// Writes the index and brings both files to the disk, still under temporary names.
  void finish();
  /// Gives both files their names; call after finish().
  void commit();

private:
  void end_sequence();

  std::string prefix_;
  std::int64_t vocab_;
  OutputFile data_;
  OutputFile index_;
  std::vector<std::int32_t> lengths_;       // tokens of each sequence
  std::vector<std::int64_t> documents_{0};  // first sequence of each document, then the end
  std::vector<std::uint16_t> narrow_;       // scratch of add()
  std::int64_t tokens_ = 0;
  std::int64_t sequence_begin_ = 0;
};

}  // namespace jreg::data
