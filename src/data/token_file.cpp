#include "data/token_file.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace jreg::data {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little endian");

using token_format::TokenType;

std::string without_suffix(std::string const& name) {
  if (name.ends_with(".bin") || name.ends_with(".idx")) return name.substr(0, name.size() - 4);
  return name;
}

template <class Number> Number load(std::span<std::byte const> bytes, std::size_t at) {
  Number value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// Size of the .idx without modes for these counts, or 0 when it does not fit into 63 bits.
std::uint64_t index_size(std::uint64_t sequences, std::uint64_t entries) {
  constexpr std::uint64_t most = (std::uint64_t{1} << 62) / 16;
  if (sequences > most || entries > most) return 0;
  return token_format::header_size + sequences * 12 + entries * 8;
}

}  // namespace

TokenFile::TokenFile(std::string const& prefix)
    : prefix_{without_suffix(prefix)},
      index_file_{prefix_ + ".idx"},
      data_file_{prefix_ + ".bin"},
      index_{index_file_.bytes()},
      data_{data_file_.bytes()} {
  check();
}

TokenFile::TokenFile(std::string name, std::span<std::byte const> index, std::span<std::byte const> data)
    : prefix_{std::move(name)}, index_{index}, data_{data} {
  check();
}

void TokenFile::check() {
  read_header();
  check_sequences();
  check_documents();
  if (tokens_ == 0) throw DataError("{}.bin: holds no tokens; tokenize a text that is not empty", prefix_);
}

void TokenFile::read_header() {
  std::span<std::byte const> const bytes = index_;
  if (bytes.size() < token_format::header_size) {
    throw DataError("{}.idx: {} bytes are too few for a header of {}", prefix_, bytes.size(),
                    token_format::header_size);
  }
  if (std::memcmp(bytes.data(), token_format::magic.data(), token_format::magic.size()) != 0) {
    throw DataError("{}.idx: does not begin with MMIDIDX; not an index of tokens", prefix_);
  }
  if (auto const version = load<std::uint64_t>(bytes, 9); version != token_format::version) {
    throw DataError("{}.idx: version {} instead of {}", prefix_, version, token_format::version);
  }
  auto const type = load<std::uint8_t>(bytes, 17);
  type_ = static_cast<TokenType>(type);
  if (token_format::size_of(type_) == 0) {
    throw DataError(
        "{}.idx: type {} at byte 17 is none of the integer types 1 (u8), 2 (i8), 3 (i16), 4 (i32), 5 (i64), "
        "8 (u16)",
        prefix_, type);
  }
  auto const sequences = load<std::uint64_t>(bytes, 18);
  auto const entries = load<std::uint64_t>(bytes, 26);
  if (entries == 0) throw DataError("{}.idx: 0 document entries at byte 26 instead of documents + 1", prefix_);
  std::uint64_t const expected = index_size(sequences, entries);
  if (expected == 0 || (bytes.size() != expected && bytes.size() != expected + sequences)) {
    throw DataError("{}.idx: {} bytes do not match its {} sequences and {} document entries", prefix_, bytes.size(),
                    sequences, entries);
  }
  sequences_ = static_cast<std::int64_t>(sequences);
  documents_ = static_cast<std::int64_t>(entries) - 1;
  lengths_at_ = token_format::header_size;
  pointers_at_ = lengths_at_ + sequences * 4;
  documents_at_ = pointers_at_ + sequences * 8;
  tokens_ = static_cast<std::int64_t>(data_.size() / token_format::size_of(type_));
}

template <class Number> Number TokenFile::index_value(std::size_t array_at, std::int64_t i) const {
  return load<Number>(index_, array_at + static_cast<std::size_t>(i) * sizeof(Number));
}

void TokenFile::check_sequences() const {
  auto const size = static_cast<std::int64_t>(data_.size());
  auto const width = static_cast<std::int64_t>(token_format::size_of(type_));
  std::int64_t end = 0;  // bytes of the .bin covered so far; at most `size`, so that no sum below overflows
  for (std::int64_t i = 0; i < sequences_; ++i) {
    auto const length = index_value<std::int32_t>(lengths_at_, i);
    auto const pointer = index_value<std::int64_t>(pointers_at_, i);
    if (length < 0) throw DataError("{}.idx: sequence {} has the negative length {}", prefix_, i, length);
    if (pointer != end) {
      throw DataError("{}.idx: sequence {} begins at byte {} instead of {}, where the one before ends", prefix_, i,
                      pointer, end);
    }
    end += length * width;
    if (end > size) {
      throw DataError(
          "{}.bin: {} bytes, but sequence {} of {}.idx ends at byte {}; the file is truncated or belongs to "
          "another index",
          prefix_, size, i, prefix_, end);
    }
  }
  if (end != size) {
    throw DataError("{}.bin: {} bytes, but {}.idx describes {}; the two files do not belong together", prefix_, size,
                    prefix_, end);
  }
}

void TokenFile::check_documents() const {
  std::int64_t before = 0;
  for (std::int64_t i = 0; i <= documents_; ++i) {
    auto const sequence = index_value<std::int64_t>(documents_at_, i);
    if (i == 0 && sequence != 0) throw DataError("{}.idx: document 0 begins at sequence {}", prefix_, sequence);
    if (sequence < before || sequence > sequences_) {
      throw DataError("{}.idx: document {} begins at sequence {}, outside {} to {}", prefix_, i, sequence, before,
                      sequences_);
    }
    before = sequence;
  }
  if (before != sequences_) {
    throw DataError("{}.idx: the documents end at sequence {} of {}", prefix_, before, sequences_);
  }
}

std::int64_t TokenFile::document_begin(std::int64_t i) const {
  expect(i >= 0 && i <= documents_, "document_begin: i lies in [0, documents]");
  auto const sequence = index_value<std::int64_t>(documents_at_, i);
  if (sequence == sequences_) return tokens_;
  return index_value<std::int64_t>(pointers_at_, sequence) / static_cast<std::int64_t>(token_format::size_of(type_));
}

std::int64_t TokenFile::next_document(std::int64_t position) const {
  expect(position >= 0 && position < tokens_, "next_document: the position lies in the stream");
  std::int64_t low = 0;  // document_begin(low) <= position < document_begin(high), which is tokens_ at the end
  std::int64_t high = documents_;
  while (high - low > 1) {
    std::int64_t const middle = low + (high - low) / 2;
    (document_begin(middle) <= position ? low : high) = middle;
  }
  return document_begin(high);
}

template <class Id>
void TokenFile::read_as(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const {
  std::byte const* const from = data_.data() + static_cast<std::size_t>(first_token) * sizeof(Id);
  for (std::size_t i = 0; i < out.size(); ++i) {
    Id id;
    std::memcpy(&id, from + i * sizeof(Id), sizeof id);
    if (static_cast<std::int64_t>(id) < 0 || static_cast<std::int64_t>(id) >= vocab) {
      auto const token = static_cast<std::uint64_t>(first_token) + i;
      throw DataError(
          "{}.bin: token {} (byte {}) has id {}, outside the vocabulary of {}; set model.vocab to that of "
          "the tokenizer",
          prefix_, token, token * sizeof(Id), id, vocab);
    }
    out[i] = static_cast<std::int32_t>(id);
  }
}

void TokenFile::read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const {
  auto const count = static_cast<std::int64_t>(out.size());
  expect(first_token >= 0 && count <= tokens_ && first_token <= tokens_ - count,
         "TokenFile::read: the range lies in the file");
  expect(vocab > 0 && vocab <= (std::int64_t{1} << 31), "TokenFile::read: ids below vocab fit into 32 bits");
  switch (type_) {
    case TokenType::u8:
      return read_as<std::uint8_t>(first_token, out, vocab);
    case TokenType::i8:
      return read_as<std::int8_t>(first_token, out, vocab);
    case TokenType::i16:
      return read_as<std::int16_t>(first_token, out, vocab);
    case TokenType::u16:
      return read_as<std::uint16_t>(first_token, out, vocab);
    case TokenType::i32:
      return read_as<std::int32_t>(first_token, out, vocab);
    case TokenType::i64:
      return read_as<std::int64_t>(first_token, out, vocab);
    case TokenType::f64:
    case TokenType::f32:
      break;
  }
  expect(false, "TokenFile::read: the constructor accepts integer types only");
}

}  // namespace jreg::data
