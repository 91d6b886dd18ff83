#pragma once

#include <cstdint>
#include <span>

#include "data/token_stream.h"

namespace jreg::data {

/// Whether and how documents within a sequence are told apart.
struct DocumentRule {
  bool mask = false;      // tokens do not attend to earlier documents
  std::int64_t eos = -1;  // a document also ends behind every token of this id; -1: none
};

/// Throws UserError where `rule` asks for documents and neither the stream's format nor an EOS id tells of them.
void require_documents(TokenStream const& stream, DocumentRule const& rule);

/// first[t] = index, in the sequence of `tokens` that begins at `offset` of the stream, of the first token of the
/// document that token t belongs to (0 where that lies before the sequence). Allocates nothing.
void find_documents(TokenStream const& stream, std::int64_t offset, std::span<std::int32_t const> tokens,
                    std::int64_t eos, std::span<std::int32_t> first);

}  // namespace jreg::data
