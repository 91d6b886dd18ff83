#pragma once

#include <memory>
#include <string>

#include "data/token_stream.h"

namespace jreg::data {

/// Opens the tokens that `text` names, in one of data.format's formats:
///   megatron      PREFIX of PREFIX.bin and PREFIX.idx
///   llmc          llm.c's files: a path, a pattern with * ? [ ], or several of these with commas between
///   raw16, raw32  files of bare u16 or u32 ids, named likewise
///   auto          megatron where PREFIX.idx is there, llmc where the first file begins so; never a bare file
/// Files of a pattern follow one another in the order of their names' bytes. Throws UserError where nothing is there
/// or where auto cannot tell, DataError for what is malformed.
std::unique_ptr<TokenStream> open_tokens(std::string const& text, std::string const& format);

/// Throws DataError where tokens do not fit the vocabulary, as far as the first million tells.
void check_tokens(TokenStream const& stream, std::int64_t vocab);

}  // namespace jreg::data
