#include "data/utf8.h"

#include <cstdint>
#include <cstring>

namespace jreg::data {
namespace {

/// What a leading byte says: how many bytes follow and which range the first of them lies in.
struct Lead {
  int following = -1;  // -1: cannot begin a character
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

Lead lead_of(unsigned char byte) noexcept {
  if (byte < 0x80) return {.following = 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {.following = 1};
  if (byte == 0xE0) return {.following = 2, .low = 0xA0};   // below: overlong
  if (byte == 0xED) return {.following = 2, .high = 0x9F};  // above: surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {.following = 2};
  if (byte == 0xF0) return {.following = 3, .low = 0x90};  // below: overlong
  if (byte >= 0xF1 && byte <= 0xF3) return {.following = 3};
  if (byte == 0xF4) return {.following = 3, .high = 0x8F};  // above: beyond U+10FFFF
  return {};
}

}  // namespace

std::size_t first_invalid_utf8(std::string_view text) noexcept {
  auto const* const bytes = reinterpret_cast<unsigned char const*>(text.data());
  std::size_t const size = text.size();
  std::size_t i = 0;
  while (i < size) {
    std::uint64_t eight = 0;
    if (size - i >= sizeof eight) {  // plain ASCII, eight bytes at a time
      std::memcpy(&eight, bytes + i, sizeof eight);
      if ((eight & 0x8080808080808080ULL) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    Lead const lead = lead_of(bytes[i]);
    if (lead.following < 0 || size - i <= static_cast<std::size_t>(lead.following)) return i;
    for (int k = 1; k <= lead.following; ++k) {
      unsigned char const byte = bytes[i + static_cast<std::size_t>(k)];
      if (byte < (k == 1 ? lead.low : 0x80) || byte > (k == 1 ? lead.high : 0xBF)) return i;
    }
    i += static_cast<std::size_t>(lead.following) + 1;
  }
  return std::string_view::npos;
}

std::size_t utf8_boundary(std::string_view text, std::size_t at) noexcept {
  if (at >= text.size()) return text.size();
  // A character has at most three bytes behind its first; more of them are not UTF-8 and may be cut anywhere.
  for (std::size_t back = 0; back < 4 && back < at; ++back) {
    if ((static_cast<unsigned char>(text[at - back]) & 0xC0U) != 0x80U) return at - back;
  }
  return at;
}

}  // namespace jreg::data
