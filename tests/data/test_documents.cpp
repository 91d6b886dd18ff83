#include "data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "data/batch.h"
#include "data/flat_tokens.h"
#include "data/scratch.h"
#include "data/token_file.h"
#include "data/token_writer.h"

namespace jreg::data {
namespace {

using Ids = std::vector<std::int32_t>;

/// PREFIX of documents of these lengths; token i has id i.
std::string write(Scratch const& folder, std::vector<std::int32_t> const& lengths) {
  TokenWriter writer{folder / "documents", 1000};
  std::int32_t next = 0;
  for (std::int32_t const length : lengths) {
    for (std::int32_t i = 0; i < length; ++i, ++next) writer.add(std::span{&next, 1});
    writer.end_document();
  }
  writer.finish();
  writer.commit();
  return folder / "documents";
}

Ids first_of(TokenStream const& stream, std::int64_t offset, std::size_t length, std::int64_t eos = -1) {
  Ids tokens(length);
  stream.read(offset, tokens, 1000);
  Ids first(length, -1);
  find_documents(stream, offset, tokens, eos, first);
  return first;
}

TEST(Documents, BeginWhereTheIndexSays) {
  Scratch const folder;
  TokenFile const file{write(folder, {3, 0, 1, 4, 0, 2})};
  EXPECT_EQ(first_of(file, 0, 10), (Ids{0, 0, 0, 3, 4, 4, 4, 4, 8, 8}));
  EXPECT_EQ(first_of(file, 1, 5), (Ids{0, 0, 2, 3, 3}));
  EXPECT_EQ(first_of(file, 3, 3), (Ids{0, 1, 1})) << "a sequence that begins with a document";
  EXPECT_EQ(first_of(file, 5, 3), (Ids{0, 0, 0})) << "in the middle of one";
  EXPECT_EQ(first_of(file, 9, 1), (Ids{0}));
}

TEST(Documents, EndBehindTheEosId) {
  Scratch const folder;
  std::string const bytes = {1, 0, 9, 0, 9, 0, 2, 0, 3, 0, 9, 0};
  FlatTokens const file{"ids", std::as_bytes(std::span{bytes}), FlatFormat::raw16};
  EXPECT_EQ(first_of(file, 0, 6, 9), (Ids{0, 0, 2, 3, 3, 3}));
  EXPECT_EQ(first_of(file, 1, 4, 9), (Ids{0, 1, 2, 2}));
  EXPECT_EQ(first_of(file, 0, 6), (Ids{0, 0, 0, 0, 0, 0}));
}

TEST(Documents, AnEosIdAddsToTheIndex) {
  Scratch const folder;
  TokenFile const file{write(folder, {4, 4})};
  EXPECT_EQ(first_of(file, 0, 8, 1), (Ids{0, 0, 2, 2, 4, 4, 4, 4}));
}

TEST(Documents, TheLastTokenOfADocumentHasTheFirstOfTheNextAsTarget) {
  Scratch const folder;
  TokenFile const file{write(folder, {3, 6})};
  Ids inputs(8);
  Ids targets(8);
  Ids first(8);
  load(file, Windows{9, 4}, 0, 2, 1000, {.mask = true}, {inputs, targets, first});
  EXPECT_EQ(inputs, (Ids{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(targets, (Ids{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(first, (Ids{0, 0, 0, 3, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace jreg::data
