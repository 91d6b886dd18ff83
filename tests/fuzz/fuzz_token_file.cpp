// The indexed dataset. Input: size of the index (2 bytes, little endian), index, tokens.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "data/token_file.h"
#include "fuzz/fuzz.h"

namespace jreg::fuzz {
namespace {

using data::TokenFile;
namespace token_format = data::token_format;

constexpr std::int64_t largest_vocab = std::int64_t{1} << 31;

/// The contents of both files, each in memory of its own whose borders AddressSanitizer watches.
struct Pair {
  std::vector<std::byte> index;
  std::vector<std::byte> tokens;
};

Pair split(std::span<std::byte const> input) {
  if (input.size() < 2) return {};
  std::size_t const wanted = std::to_integer<std::size_t>(input[0]) + (std::to_integer<std::size_t>(input[1]) << 8);
  auto const rest = input.subspan(2);
  auto const index = rest.first(std::min(wanted, rest.size()));
  auto const tokens = rest.subspan(index.size());
  return {{index.begin(), index.end()}, {tokens.begin(), tokens.end()}};
}

template <class Number> void put(std::vector<std::byte>& to, Number value) {
  std::byte bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.insert(to.end(), bytes, bytes + sizeof value);
}

std::vector<std::int64_t> documents_of(TokenFile const& file) {
  std::vector<std::int64_t> begins;
  for (std::int64_t i = 0; i <= file.documents(); ++i) begins.push_back(file.document_begin(i));
  must_hold(begins.front() == 0 && begins.back() == file.tokens(), "the documents are the whole stream");
  must_hold(std::ranges::is_sorted(begins), "documents follow one another");
  return begins;
}

/// The same tokens and documents as an index of one sequence per document and tokens of 4 bytes.
Pair rewritten(std::vector<std::int32_t> const& tokens, std::vector<std::int64_t> const& begins) {
  Pair pair;
  for (char const c : token_format::magic) put(pair.index, c);
  put(pair.index, token_format::version);
  put(pair.index, token_format::TokenType::i32);
  put(pair.index, std::uint64_t{begins.size() - 1});
  put(pair.index, std::uint64_t{begins.size()});
  for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
    put(pair.index, static_cast<std::int32_t>(begins[i + 1] - begins[i]));
  }
  for (std::size_t i = 0; i + 1 < begins.size(); ++i) put(pair.index, begins[i] * 4);
  for (std::size_t i = 0; i < begins.size(); ++i) put(pair.index, static_cast<std::int64_t>(i));
  for (std::int32_t const token : tokens) put(pair.tokens, token);
  return pair;
}

void read(TokenFile const& file) {
  auto const begins = documents_of(file);
  std::vector<std::int32_t> all(static_cast<std::size_t>(file.tokens()));
  accepts([&] { file.read(0, all, 257); });
  if (!accepts([&] { file.read(0, all, largest_vocab); })) return;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::int32_t one = -1;
    file.read(static_cast<std::int64_t>(i), {&one, 1}, largest_vocab);
    must_hold(one == all[i] && one >= 0, "a token is the same, read alone or with others");
  }
  Pair const pair = rewritten(all, begins);
  TokenFile const again{"again", pair.index, pair.tokens};
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(again.tokens()));
  again.read(0, tokens, largest_vocab);
  must_hold(tokens == all && documents_of(again) == begins, "tokens and documents survive being written again");
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg::fuzz;
  Pair const pair = split(std::as_bytes(std::span{data, size}));
  accepts([&] { read(jreg::data::TokenFile{"input", pair.index, pair.tokens}); });
  return 0;
}
