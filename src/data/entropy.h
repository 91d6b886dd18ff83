#pragma once

#include <cstdint>
#include <span>

namespace jreg::data {

/// Entropy in nats of the distribution with these counts: the cross entropy of a model that knows only how frequent
/// each token is. 0 where all counts are 0.
double unigram_entropy(std::span<std::int64_t const> counts);

}  // namespace jreg::data
