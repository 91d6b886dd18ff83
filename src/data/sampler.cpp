#include "data/sampler.h"

#include <fmt/format.h>

#include "base/error.h"

namespace jreg::data {
namespace {

/// The first source has the order of a run without a mixture.
RandomStream epochs_of(std::int64_t seed, std::size_t source) {
  std::string const name = "data order: epochs";
  return {static_cast<std::uint64_t>(seed), source == 0 ? name : fmt::format("{} of source {}", name, source)};
}

}  // namespace

Sampler::Sampler(std::int64_t tokens, std::int64_t sequence_length, std::int64_t seed, std::size_t source)
    : sequence_length_{sequence_length}, samples_{0}, epochs_{epochs_of(seed, source)} {
  expect(sequence_length > 0, "Sampler: sequence_length is positive");
  if (tokens - 1 < sequence_length) {
    throw UserError(
        "{} tokens do not fill one sequence of train.sequence_length = {} and its next token; use more text "
        "or shorter sequences",
        tokens, sequence_length);
  }
  samples_ = (tokens - 1) / sequence_length;
}

std::int64_t Sampler::token_offset(std::int64_t global_index) const {
  expect(global_index >= 0, "Sampler::token_offset: the index is not negative");
  auto const epoch = static_cast<std::uint64_t>(global_index / samples_);
  RandomStream const order{epochs_.bits(epoch), "data order: within an epoch"};
  std::uint64_t const position =
      permuted(static_cast<std::uint64_t>(global_index % samples_), static_cast<std::uint64_t>(samples_), order);
  return static_cast<std::int64_t>(position) * sequence_length_;
}

}  // namespace jreg::data
