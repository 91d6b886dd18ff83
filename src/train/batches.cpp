#include "train/batches.h"

#include <span>

#include "base/error.h"
#include "base/random.h"
#include "data/batch.h"

namespace jreg::train {

BatchFeeder::BatchFeeder(backend::Backend& backend, std::int64_t sequence_length, std::int64_t largest_micro_batch)
    : backend_{backend},
      sequence_length_{sequence_length},
      inputs_(static_cast<std::size_t>(sequence_length * largest_micro_batch)),
      targets_(inputs_.size()),
      arena_{backend, [&](backend::Placer& placer) {
               auto const tokens = static_cast<std::int64_t>(inputs_.size());
               device_inputs_ = placer.tensor(DType::i32, 1, tokens);
               device_targets_ = placer.tensor(DType::i32, 1, tokens);
             }} {}

model::MicroBatch BatchFeeder::load(data::TokenFile const& file, data::Sampler const& sampler, std::int64_t first,
                                    std::int64_t count, std::int64_t vocab) {
  auto const tokens = static_cast<std::size_t>(count * sequence_length_);
  expect(tokens <= inputs_.size(), "a micro-batch fits the feeder");
  data::load(file, sampler, first, count, vocab, std::span{inputs_}.first(tokens), std::span{targets_}.first(tokens));
  return upload(count);
}

model::MicroBatch BatchFeeder::synthetic(std::int64_t seed, std::int64_t first, std::int64_t count,
                                         std::int64_t vocab) {
  RandomStream const stream{static_cast<std::uint64_t>(seed), "synthetic tokens"};
  auto const begin = static_cast<std::uint64_t>(first * sequence_length_);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count * sequence_length_); ++i) {
    inputs_[i] = static_cast<std::int32_t>(stream.bits(begin + i) % static_cast<std::uint64_t>(vocab));
    targets_[i] = static_cast<std::int32_t>(stream.bits(begin + i + 1) % static_cast<std::uint64_t>(vocab));
  }
  return upload(count);
}

model::MicroBatch BatchFeeder::upload(std::int64_t count) {
  std::int64_t const tokens = count * sequence_length_;
  model::MicroBatch const batch{.tokens = device_inputs_.column_range(0, tokens),
                                .targets = device_targets_.column_range(0, tokens),
                                .sequences = count};
  backend_.copy_from_host(batch.tokens.data, inputs_.data(), static_cast<std::size_t>(batch.tokens.bytes()));
  backend_.copy_from_host(batch.targets.data, targets_.data(), static_cast<std::size_t>(batch.targets.bytes()));
  return batch;
}

}  // namespace jreg::train
