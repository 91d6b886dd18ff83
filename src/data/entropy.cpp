#include "data/entropy.h"

#include <cmath>

namespace jreg::data {

double unigram_entropy(std::span<std::int64_t const> counts) {
  double total = 0;
  for (std::int64_t const count : counts) total += static_cast<double>(count);
  double entropy = 0;
  for (std::int64_t const count : counts) {
    if (count == 0) continue;
    double const share = static_cast<double>(count) / total;
    entropy -= share * std::log(share);
  }
  return entropy;
}

}  // namespace jreg::data
