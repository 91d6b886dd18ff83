#include "data/flat_tokens.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace jreg::data {
namespace {

/// llm.c's header (dev/data/data_common.py): integers of 4 bytes, of which the first three mean something.
constexpr std::size_t header_size = 256 * sizeof(std::int32_t);

struct LlmcKind {
  std::int32_t magic;
  std::int32_t version;
  std::int64_t width;  // bytes of a token
};
constexpr LlmcKind llmc_kinds[]{{20240520, 1, 2}, {20240801, 7, 4}};

/// Files of llm.c that hold no training data, by their magic.
struct OtherKind {
  std::int32_t magic;
  char const* name;
};
constexpr OtherKind other_kinds[]{{20240522, "an evaluation set (multiple choice)"},
                                  {20240326, "a model's weights"},
                                  {20240327, "a debug state"},
                                  {20240328, "a tokenizer"}};

std::int32_t integer_at(std::span<std::byte const> bytes, std::size_t i) {
  std::int32_t value = 0;
  std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
  return value;
}

LlmcKind const* kind_of(std::int32_t magic) {
  auto const* const at = std::ranges::find(llmc_kinds, magic, &LlmcKind::magic);
  return at == std::end(llmc_kinds) ? nullptr : at;
}

LlmcKind const& checked_kind(std::string const& path, std::span<std::byte const> bytes) {
  if (bytes.size() < header_size) {
    throw DataError("{}: {} bytes are too few for llm.c's header of {}", path, bytes.size(), header_size);
  }
  std::int32_t const magic = integer_at(bytes, 0);
  LlmcKind const* const kind = kind_of(magic);
  if (kind == nullptr) {
    auto const* const other = std::ranges::find(other_kinds, magic, &OtherKind::magic);
    if (other != std::end(other_kinds)) {
      throw DataError("{}: magic {} is that of {} of llm.c, which cannot be trained on", path, magic, other->name);
    }
    throw DataError("{}: begins with {} instead of llm.c's 20240520 (16-bit ids) or 20240801 (32-bit ids)", path,
                    magic);
  }
  if (std::int32_t const version = integer_at(bytes, 1); version != kind->version) {
    throw DataError("{}: version {} at byte 4 instead of {}, which belongs to magic {}", path, version, kind->version,
                    magic);
  }
  return *kind;
}

/// Bytes of a token in a file whose header is right and fits its size.
std::int64_t checked_width(std::string const& path, std::span<std::byte const> bytes) {
  LlmcKind const& kind = checked_kind(path, bytes);
  std::int64_t const count = integer_at(bytes, 2);
  if (count <= 0) throw DataError("{}: {} tokens at byte 8; a file holds at least one", path, count);
  auto const there = static_cast<std::int64_t>(bytes.size() - header_size);
  if (there != count * kind.width) {
    std::int64_t const other_width = kind.width == 2 ? 4 : 2;
    throw DataError("{}: {} bytes behind the header instead of {}, for {} tokens of {} bytes{}", path, there,
                    count * kind.width, count, kind.width,
                    there == count * other_width ? "; they would be of the other version's width" : "");
  }
  return kind.width;
}

}  // namespace

bool begins_like_llmc(std::span<std::byte const> bytes) {
  if (bytes.size() < sizeof(std::int32_t)) return false;
  std::int32_t const magic = integer_at(bytes, 0);
  return kind_of(magic) != nullptr || std::ranges::find(other_kinds, magic, &OtherKind::magic) != std::end(other_kinds);
}

FlatTokens::FlatTokens(std::string name, std::vector<std::string> const& paths, FlatFormat format)
    : name_{std::move(name)} {
  expect(!paths.empty(), "FlatTokens: there is a file");
  for (std::string const& path : paths) {
    files_.emplace_back(path);
    add(path, files_.back().bytes(), format);
  }
}

FlatTokens::FlatTokens(std::string name, std::span<std::byte const> bytes, FlatFormat format) : name_{std::move(name)} {
  add(name_, bytes, format);
}

void FlatTokens::add(std::string path, std::span<std::byte const> bytes, FlatFormat format) {
  std::size_t const header = format == FlatFormat::llmc ? header_size : 0;
  std::int64_t const width = format == FlatFormat::llmc    ? checked_width(path, bytes)
                             : format == FlatFormat::raw16 ? 2
                                                           : 4;
  std::span<std::byte const> const ids = bytes.subspan(header);
  if (ids.empty()) throw DataError("{}: holds no tokens", path);
  if (ids.size() % static_cast<std::size_t>(width) != 0) {
    throw DataError("{}: {} bytes are no whole number of tokens of {} bytes", path, ids.size(), width);
  }
  std::int64_t const count = static_cast<std::int64_t>(ids.size()) / width;
  shards_.push_back({std::move(path), ids, static_cast<std::int64_t>(header), width, tokens_, tokens_ + count});
  tokens_ += count;
}

template <class Id>
void FlatTokens::read_as(Shard const& shard, std::int64_t first, std::span<std::int32_t> out, std::int64_t vocab) {
  std::byte const* const from = shard.ids.data() + static_cast<std::size_t>(first) * sizeof(Id);
  for (std::size_t i = 0; i < out.size(); ++i) {
    Id id;
    std::memcpy(&id, from + i * sizeof(Id), sizeof id);
    if (static_cast<std::int64_t>(id) >= vocab) {
      std::int64_t const token = first + static_cast<std::int64_t>(i);
      throw DataError(
          "{}: token {} (byte {}) has id {}, outside the vocabulary of {}; set model.vocab to that of the tokenizer",
          shard.path, token, shard.ids_at + token * shard.width, id, vocab);
    }
    out[i] = static_cast<std::int32_t>(id);
  }
}

void FlatTokens::read(std::int64_t first_token, std::span<std::int32_t> out, std::int64_t vocab) const {
  auto const count = static_cast<std::int64_t>(out.size());
  expect(first_token >= 0 && count <= tokens_ && first_token <= tokens_ - count,
         "FlatTokens::read: the range lies in the files");
  expect(vocab > 0 && vocab <= (std::int64_t{1} << 31), "FlatTokens::read: ids below vocab fit into 32 bits");
  auto shard = std::ranges::upper_bound(shards_, first_token, {}, &Shard::end_token);
  while (!out.empty()) {
    auto const there = static_cast<std::size_t>(shard->end_token - first_token);
    auto const part = out.first(std::min(out.size(), there));
    std::int64_t const first = first_token - shard->first_token;
    shard->width == 2 ? read_as<std::uint16_t>(*shard, first, part, vocab)
                      : read_as<std::uint32_t>(*shard, first, part, vocab);
    out = out.subspan(part.size());
    first_token += static_cast<std::int64_t>(part.size());
    ++shard;
  }
}

}  // namespace jreg::data
