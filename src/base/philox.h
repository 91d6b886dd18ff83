#pragma once

#include <cstdint>

namespace jreg {

/// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11) as the host, kernels of the CPU and kernels of a GPU compute it.
/// Four: a struct of four words. Kernels that are compiled for one instruction set bring one of their own, and so share
/// no symbol with the rest of the program.
template <class Four> constexpr Four philox(std::uint64_t key, std::uint64_t counter_high, std::uint64_t counter_low) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  auto c0 = static_cast<std::uint32_t>(counter_low);
  auto c1 = static_cast<std::uint32_t>(counter_low >> 32);
  auto c2 = static_cast<std::uint32_t>(counter_high);
  auto c3 = static_cast<std::uint32_t>(counter_high >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t const p0 = std::uint64_t{0xD2511F53} * c0;
    std::uint64_t const p1 = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return Four{c0, c1, c2, c3};
}

}  // namespace jreg
