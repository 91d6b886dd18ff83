#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// Megatron's indexed dataset, little endian. PREFIX.bin holds the raw tokens; PREFIX.idx holds
//   magic (9 bytes) | u64 version | u8 type | u64 sequences S | u64 entries D = documents + 1
//   | i32 length[S] (tokens) | i64 pointer[S] (byte offset in the .bin) | i64 document[D] (first sequence) | [i8
//   mode[S]]
namespace jreg::data::token_format {

inline constexpr std::array<char, 9> magic{'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
inline constexpr std::uint64_t version = 1;
inline constexpr std::size_t header_size = 34;

/// Codes of the header's type byte.
enum class TokenType : std::uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, f64 = 6, f32 = 7, u16 = 8 };

/// Bytes per token; 0 for types that cannot hold token ids.
constexpr std::size_t size_of(TokenType type) noexcept {
  switch (type) {
    case TokenType::u8:
    case TokenType::i8:
      return 1;
    case TokenType::i16:
    case TokenType::u16:
      return 2;
    case TokenType::i32:
      return 4;
    case TokenType::i64:
      return 8;
    case TokenType::f64:
    case TokenType::f32:
      break;
  }
  return 0;
}

/// The type Megatron itself picks for a vocabulary.
constexpr TokenType type_for(std::int64_t vocab) noexcept {
  return vocab < 65500 ? TokenType::u16 : TokenType::i32;
}

}  // namespace jreg::data::token_format
