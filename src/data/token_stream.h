#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace jreg::data {

/// The tokens of a dataset as one stream in file order, whatever format its files have.
class TokenStream {
public:
  virtual ~TokenStream() = default;

  /// What the user calls it: a prefix, a path or a list of paths.
  virtual std::string const& name() const noexcept = 0;
  virtual std::int64_t tokens() const noexcept = 0;
  /// Copies tokens [first_token, first_token + out.size()), which lie in the stream. Throws DataError naming file,
  /// position and id when an id is negative or not below `vocab`.
  virtual void read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const = 0;

  /// Whether the format tells where documents begin.
  virtual bool knows_documents() const noexcept = 0;
  /// Where the first document behind `position` (in [0, tokens())) begins; tokens() where there is none, or where the
  /// format does not tell.
  virtual std::int64_t next_document(std::int64_t position) const = 0;
};

}  // namespace jreg::data
