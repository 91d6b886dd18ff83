#include "data/batch.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::data {

BatchPlan::BatchPlan(std::int64_t global_batch, std::int64_t data_ranks, std::int64_t data_rank,
                     std::int64_t micro_batch)
    : global_batch_{global_batch}, per_rank_{0}, data_rank_{data_rank}, micro_batch_{micro_batch} {
  expect(global_batch > 0 && data_ranks > 0 && global_batch % data_ranks == 0,
         "BatchPlan: global_batch is a multiple of data_ranks");
  expect(data_rank >= 0 && data_rank < data_ranks, "BatchPlan: data_rank lies in [0, data_ranks)");
  per_rank_ = global_batch / data_ranks;
  if (micro_batch_ == 0) micro_batch_ = per_rank_;
  expect(micro_batch_ > 0 && per_rank_ % micro_batch_ == 0, "BatchPlan: the rank's share is a multiple of micro_batch");
}

std::int64_t BatchPlan::first_sample(std::int64_t step, std::int64_t micro) const {
  expect(step >= 0 && micro >= 0 && micro < micro_batches(), "BatchPlan::first_sample: micro lies in the update");
  return step * global_batch_ + data_rank_ * per_rank_ + micro * micro_batch_;
}

namespace {

/// The part of a batch that sequence `row` of `length` tokens begins with.
HostBatch part_of(HostBatch const& batch, std::size_t row, std::size_t length, std::size_t tokens) {
  auto const first = batch.first.empty() ? batch.first : batch.first.subspan(row * length, tokens);
  return {batch.inputs.subspan(row * length, tokens), batch.targets.subspan(row * length, tokens), first};
}

/// Fills one sequence.
void load_sample(Sample const& sample, std::int64_t vocab, DocumentRule const& rule, HostBatch const& sequence) {
  auto const length = static_cast<std::int64_t>(sequence.inputs.size());
  sample.stream->read(sample.offset, sequence.inputs, vocab);
  std::ranges::copy(sequence.inputs.subspan(1), sequence.targets.begin());
  sample.stream->read(sample.offset + length, sequence.targets.last(1), vocab);
  if (rule.mask) find_documents(*sample.stream, sample.offset, sequence.inputs, rule.eos, sequence.first);
}

void check_sizes(std::int64_t count, std::int64_t length, DocumentRule const& rule, HostBatch const& batch) {
  expect_equal(batch.inputs.size(), static_cast<std::size_t>(count * length), "load: size of inputs");
  expect_equal(batch.targets.size(), batch.inputs.size(), "load: size of targets");
  if (rule.mask) expect_equal(batch.first.size(), batch.inputs.size(), "load: size of first");
}

}  // namespace

void load(Dataset& dataset, std::int64_t sequence_length, std::int64_t first_global_index, std::int64_t count,
          std::int64_t vocab, DocumentRule const& rule, HostBatch const& batch) {
  check_sizes(count, sequence_length, rule, batch);
  auto const length = static_cast<std::size_t>(sequence_length);
  for (std::int64_t i = 0; i < count; ++i) {
    load_sample(dataset.sample(first_global_index + i), vocab, rule,
                part_of(batch, static_cast<std::size_t>(i), length, length));
  }
}

void load(TokenStream const& stream, Windows const& windows, std::int64_t first, std::int64_t count, std::int64_t vocab,
          DocumentRule const& rule, HostBatch const& batch) {
  check_sizes(count, windows.length(), rule, batch);
  auto const length = static_cast<std::size_t>(windows.length());
  for (std::int64_t i = 0; i < count; ++i) {
    Windows::Window const window = windows.at(first + i);
    auto const row = static_cast<std::size_t>(i);
    auto const inputs = static_cast<std::size_t>(window.inputs);
    load_sample({&stream, window.offset}, vocab, rule, part_of(batch, row, length, inputs));
    if (inputs == length) continue;
    HostBatch const whole = part_of(batch, row, length, length);
    std::ranges::fill(whole.inputs.subspan(inputs), 0);
    std::ranges::fill(whole.targets.subspan(inputs), 0);
    if (rule.mask) std::ranges::fill(whole.first.subspan(inputs), whole.first[inputs - 1]);
  }
}

}  // namespace jreg::data
