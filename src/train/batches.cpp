#include "train/batches.h"

#include <span>

#include "base/error.h"
#include "base/random.h"
#include "data/batch.h"

namespace jreg::train {

namespace {

/// Where the counted tokens of some windows stand in their micro-batch; empty where all of them count.
std::vector<model::TokenRange> counted_tokens(data::Windows const& windows, std::int64_t first, std::int64_t count) {
  std::vector<model::TokenRange> ranges;
  for (std::int64_t i = 0; i < count; ++i) {
    data::Windows::Window const window = windows.at(first + i);
    std::int64_t const row = i * windows.length();
    if (!ranges.empty() && ranges.back().end == row + window.counted) {
      ranges.back().end = row + window.inputs;
    } else {
      ranges.push_back({row + window.counted, row + window.inputs});
    }
  }
  bool const all = ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == count * windows.length();
  return all ? std::vector<model::TokenRange>{} : ranges;
}

}  // namespace

BatchFeeder::BatchFeeder(backend::Backend& backend, std::int64_t sequence_length, std::int64_t largest_micro_batch,
                         data::DocumentRule const& documents)
    : backend_{backend},
      sequence_length_{sequence_length},
      documents_{documents},
      inputs_(static_cast<std::size_t>(sequence_length * largest_micro_batch)),
      targets_(inputs_.size()),
      first_(documents.mask ? inputs_.size() : 0),
      arena_{backend, [&](backend::Placer& placer) {
               auto const tokens = static_cast<std::int64_t>(inputs_.size());
               device_inputs_ = placer.tensor(DType::i32, 1, tokens);
               device_targets_ = placer.tensor(DType::i32, 1, tokens);
               if (documents.mask) device_first_ = placer.tensor(DType::i32, 1, tokens);
             }} {}

data::HostBatch BatchFeeder::host_batch(std::int64_t count) {
  auto const tokens = static_cast<std::size_t>(count * sequence_length_);
  expect(tokens <= inputs_.size(), "a micro-batch fits the feeder");
  return {std::span{inputs_}.first(tokens), std::span{targets_}.first(tokens),
          std::span{first_}.first(documents_.mask ? tokens : 0)};
}

model::MicroBatch BatchFeeder::load(data::Dataset& dataset, std::int64_t first, std::int64_t count,
                                    std::int64_t vocab) {
  data::load(dataset, sequence_length_, first, count, vocab, documents_, host_batch(count));
  return upload(count, documents_.mask);
}

model::MicroBatch BatchFeeder::load(data::TokenStream const& stream, data::Windows const& windows, std::int64_t first,
                                    std::int64_t count, std::int64_t vocab) {
  data::load(stream, windows, first, count, vocab, documents_, host_batch(count));
  model::MicroBatch batch = upload(count, documents_.mask);
  batch.counted = counted_tokens(windows, first, count);
  return batch;
}

model::MicroBatch BatchFeeder::synthetic(std::int64_t seed, std::int64_t first, std::int64_t count,
                                         std::int64_t vocab) {
  RandomStream const stream{static_cast<std::uint64_t>(seed), "synthetic tokens"};
  auto const begin = static_cast<std::uint64_t>(first * sequence_length_);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count * sequence_length_); ++i) {
    inputs_[i] = static_cast<std::int32_t>(stream.bits(begin + i) % static_cast<std::uint64_t>(vocab));
    targets_[i] = static_cast<std::int32_t>(stream.bits(begin + i + 1) % static_cast<std::uint64_t>(vocab));
  }
  return upload(count, false);
}

model::MicroBatch BatchFeeder::upload(std::int64_t count, bool documents) {
  std::int64_t const tokens = count * sequence_length_;
  model::MicroBatch const batch{.tokens = device_inputs_.column_range(0, tokens),
                                .targets = device_targets_.column_range(0, tokens),
                                .first = documents ? device_first_.column_range(0, tokens) : backend::Tensor{},
                                .sequences = count};
  backend_.copy_from_host(batch.tokens.data, inputs_.data(), static_cast<std::size_t>(batch.tokens.bytes()));
  backend_.copy_from_host(batch.targets.data, targets_.data(), static_cast<std::size_t>(batch.targets.bytes()));
  if (documents) {
    backend_.copy_from_host(batch.first.data, first_.data(), static_cast<std::size_t>(batch.first.bytes()));
  }
  return batch;
}

}  // namespace jreg::train
