#include "data/documents.h"

#include "base/error.h"

namespace jreg::data {

void require_documents(TokenStream const& stream, DocumentRule const& rule) {
  if (!rule.mask || rule.eos >= 0 || stream.knows_documents()) return;
  throw UserError(
      "data.document_mask = true: {} does not tell where documents begin; give data.eos = the id of the token that "
      "ends them",
      stream.name());
}

void find_documents(TokenStream const& stream, std::int64_t offset, std::span<std::int32_t const> tokens,
                    std::int64_t eos, std::span<std::int32_t> first) {
  expect_equal(first.size(), tokens.size(), "find_documents: size of first");
  std::int64_t next = stream.next_document(offset);
  std::int32_t begin = 0;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    std::int64_t const position = offset + static_cast<std::int64_t>(t);
    bool const begins = position == next;
    if (begins) next = stream.next_document(position);
    if (begins || (t > 0 && tokens[t - 1] == eos)) begin = static_cast<std::int32_t>(t);
    first[t] = begin;
  }
}

}  // namespace jreg::data
