#include "data/token_writer.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/error.h"
#include "data/token_format.h"

namespace jreg::data {
namespace {

template <class Number> void write_number(OutputFile& file, Number value) {
  file.write(std::as_bytes(std::span{&value, 1}));
}

}  // namespace

TokenWriter::TokenWriter(std::string const& prefix, std::int64_t vocab)
    : prefix_{prefix}, vocab_{vocab}, data_{prefix + ".bin"}, index_{prefix + ".idx"} {
  expect(vocab > 0 && vocab <= (std::int64_t{1} << 31), "TokenWriter: ids below vocab fit into 32 bits");
}

void TokenWriter::add(std::span<std::int32_t const> tokens) {
  constexpr std::int64_t longest = std::numeric_limits<std::int32_t>::max();
  while (!tokens.empty()) {
    // Lengths in the index have 32 bits: a longer document becomes several sequences.
    if (tokens_ - sequence_begin_ == longest) end_sequence();
    auto const count = std::min<std::int64_t>(longest - (tokens_ - sequence_begin_), std::ssize(tokens));
    auto const now = tokens.first(static_cast<std::size_t>(count));
    for (std::int32_t const id : now) expect(id >= 0 && id < vocab_, "TokenWriter::add: the id lies in the vocabulary");
    if (token_format::type_for(vocab_) == token_format::TokenType::u16) {
      narrow_.assign(now.begin(), now.end());
      data_.write(std::as_bytes(std::span{narrow_}));
    } else {
      data_.write(std::as_bytes(now));
    }
    tokens_ += count;
    tokens = tokens.subspan(now.size());
  }
}

void TokenWriter::end_sequence() {
  lengths_.push_back(static_cast<std::int32_t>(tokens_ - sequence_begin_));
  sequence_begin_ = tokens_;
}

void TokenWriter::end_document() {
  end_sequence();
  documents_.push_back(std::ssize(lengths_));
}

void TokenWriter::finish() {
  expect_equal(sequence_begin_, tokens_, "TokenWriter::finish: the last document has ended");
  data_.sync();
  auto const type = token_format::type_for(vocab_);
  index_.write(std::as_bytes(std::span{token_format::magic}));
  write_number(index_, token_format::version);
  write_number(index_, type);
  write_number(index_, static_cast<std::uint64_t>(lengths_.size()));
  write_number(index_, static_cast<std::uint64_t>(documents_.size()));
  index_.write(std::as_bytes(std::span{lengths_}));
  std::int64_t pointer = 0;
  for (std::int32_t const length : lengths_) {
    write_number(index_, pointer);
    pointer += length * static_cast<std::int64_t>(token_format::size_of(type));
  }
  index_.write(std::as_bytes(std::span{documents_}));
  index_.sync();
}

void TokenWriter::commit() {
  // An older index goes first: at no moment does an index stand beside a .bin that is not its own.
  std::string const old_index = prefix_ + ".idx";
  if (::unlink(old_index.c_str()) != 0 && errno != ENOENT) throw_errno("cannot replace", old_index);
  data_.commit();
  index_.commit();
}

}  // namespace jreg::data
