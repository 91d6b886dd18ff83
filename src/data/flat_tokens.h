#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/mapped_file.h"
#include "data/token_stream.h"

namespace jreg::data {

/// Formats whose files are little-endian token ids behind a header or none.
enum class FlatFormat {
  llmc,   // llm.c: 256 x i32 {20240520, 1, tokens, 0 ...} + u16, or {20240801, 7, tokens, 0 ...} + u32
  raw16,  // u16 alone (nanoGPT)
  raw32   // u32 alone
};

/// Whether a file begins as llm.c's training data do.
bool begins_like_llmc(std::span<std::byte const> bytes);

/// The tokens of one file, or of several that continue each other, memory-mapped. These formats do not tell where
/// documents begin.
class FlatTokens : public TokenStream {
public:
  /// `name` is what the user calls the `paths`. Throws UserError when a file is missing, DataError naming file and
  /// fault when one is malformed or holds no token.
  FlatTokens(std::string name, std::vector<std::string> const& paths, FlatFormat format);
  /// The same of a file's bytes that are in memory already and outlive the object.
  FlatTokens(std::string name, std::span<std::byte const> bytes, FlatFormat format);

  std::string const& name() const noexcept override { return name_; }
  std::int64_t tokens() const noexcept override { return tokens_; }
  void read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const override;
  bool knows_documents() const noexcept override { return false; }
  std::int64_t next_document(std::int64_t) const override { return tokens_; }

private:
  struct Shard {
    std::string path;
    std::span<std::byte const> ids;  // without the header
    std::int64_t ids_at;             // byte of the file where these begin
    std::int64_t width;              // bytes of one
    std::int64_t first_token;        // in the stream
    std::int64_t end_token;
  };

  void add(std::string path, std::span<std::byte const> bytes, FlatFormat format);
  template <class Id>
  static void read_as(Shard const& shard, std::int64_t first, std::span<std::int32_t> out, std::int64_t vocab);

  std::string name_;
  std::vector<MappedFile> files_;
  std::vector<Shard> shards_;
  std::int64_t tokens_ = 0;
};

}  // namespace jreg::data
