// llm.c's files and files of bare ids. Input: the format (1 byte), then the file.
#include <cstring>
#include <span>
#include <vector>

#include "data/flat_tokens.h"
#include "fuzz/fuzz.h"

namespace jreg::fuzz {
namespace {

using data::FlatFormat;
using data::FlatTokens;

constexpr std::int64_t largest_vocab = std::int64_t{1} << 31;

/// The same tokens as a file of llm.c with ids of 32 bits.
std::vector<std::byte> rewritten(std::vector<std::int32_t> const& tokens) {
  std::vector<std::int32_t> numbers(256);
  numbers[0] = 20240801;
  numbers[1] = 7;
  numbers[2] = static_cast<std::int32_t>(tokens.size());
  numbers.insert(numbers.end(), tokens.begin(), tokens.end());
  auto const bytes = std::as_bytes(std::span{numbers});
  return {bytes.begin(), bytes.end()};
}

void read(FlatTokens const& file, std::size_t bytes) {
  must_hold(file.tokens() > 0, "a file holds a token");
  must_hold(static_cast<std::size_t>(file.tokens()) <= bytes / 2, "no token lies outside of the file");
  must_hold(file.next_document(0) == file.tokens(), "the format tells of no document");
  std::vector<std::int32_t> all(static_cast<std::size_t>(file.tokens()));
  accepts([&] { file.read(0, all, 257); });
  if (!accepts([&] { file.read(0, all, largest_vocab); })) return;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::int32_t one = -1;
    file.read(static_cast<std::int64_t>(i), {&one, 1}, largest_vocab);
    must_hold(one == all[i] && one >= 0, "a token is the same, read alone or with others");
  }
  std::vector<std::byte> const copy = rewritten(all);
  FlatTokens const again{"again", copy, FlatFormat::llmc};
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(again.tokens()));
  again.read(0, tokens, largest_vocab);
  must_hold(tokens == all, "tokens survive being written again");
}

}  // namespace
}  // namespace jreg::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace jreg::fuzz;
  if (size == 0) return 0;
  constexpr FlatFormat formats[]{FlatFormat::llmc, FlatFormat::raw16, FlatFormat::raw32};
  // Memory of its own, whose borders AddressSanitizer watches.
  auto const input = std::as_bytes(std::span{data, size}).subspan(1);
  std::vector<std::byte> const bytes{input.begin(), input.end()};
  jreg::data::begins_like_llmc(bytes);
  accepts([&] { read(FlatTokens{"input", bytes, formats[data[0] % 3]}, bytes.size()); });
  return 0;
}
