#pragma once

#include <string>
#include <vector>

#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace jreg::data {

/// Tokens that were made on the way, as one document.
class MemoryTokens : public TokenStream {
public:
  /// `name` is what the user calls them.
  MemoryTokens(std::string name, std::vector<std::int32_t> ids) : name_{std::move(name)}, ids_{std::move(ids)} {}
  /// A text file, encoded and ended by EOS. Throws UserError where there is no such file, DataError where it holds no
  /// text or what the tokenizer cannot read.
  static MemoryTokens of_text(std::string const& file, Tokenizer const& tokenizer);

  std::string const& name() const noexcept override { return name_; }
  std::int64_t tokens() const noexcept override { return static_cast<std::int64_t>(ids_.size()); }
  void read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const override;
  bool knows_documents() const noexcept override { return true; }
  std::int64_t next_document(std::int64_t) const override { return tokens(); }

private:
  std::string name_;
  std::vector<std::int32_t> ids_;
};

}  // namespace jreg::data
