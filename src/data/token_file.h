#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "data/mapped_file.h"
#include "data/token_format.h"
#include "data/token_stream.h"

namespace jreg::data {

/// The tokens of PREFIX.bin / PREFIX.idx (Megatron's indexed dataset), memory-mapped, as one stream in file order.
class TokenFile : public TokenStream {
public:
  /// `prefix` may also name the .bin or the .idx. Throws UserError when a file is missing, DataError naming file and
  /// fault when the pair is malformed or holds no token.
  explicit TokenFile(std::string const& prefix);
  /// The same of two files' bytes that are in memory already and outlive the object; `name` takes the place of the
  /// prefix.
  TokenFile(std::string name, std::span<std::byte const> index, std::span<std::byte const> data);

  /// Path without .bin or .idx.
  std::string const& prefix() const noexcept { return prefix_; }
  std::string const& name() const noexcept override { return prefix_; }
  std::int64_t tokens() const noexcept override { return tokens_; }
  std::int64_t documents() const noexcept { return documents_; }
  /// Position in the stream of the first token of document `i`; `i` = documents() gives tokens().
  std::int64_t document_begin(std::int64_t i) const;

  void read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const override;
  bool knows_documents() const noexcept override { return true; }
  std::int64_t next_document(std::int64_t position) const override;

private:
  void check();
  void read_header();
  void check_sequences() const;
  void check_documents() const;
  template <class Number> Number index_value(std::size_t array_at, std::int64_t i) const;
  template <class Id> void read_as(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const;

  std::string prefix_;
  MappedFile index_file_;
  MappedFile data_file_;
  std::span<std::byte const> index_;
  std::span<std::byte const> data_;
  token_format::TokenType type_{};
  std::int64_t sequences_ = 0;
  std::int64_t documents_ = 0;
  std::int64_t tokens_ = 0;
  // Byte offsets of the arrays in the .idx. They are misaligned: read by memcpy only.
  std::size_t lengths_at_ = 0;
  std::size_t pointers_at_ = 0;
  std::size_t documents_at_ = 0;
};

}  // namespace jreg::data
