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

/// Sequence `row` of a batch.
void load_sample(Sample const& sample, std::size_t row, std::size_t length, std::int64_t vocab,
                 DocumentRule const& rule, HostBatch const& batch) {
  auto const input = batch.inputs.subspan(row * length, length);
  auto const target = batch.targets.subspan(row * length, length);
  sample.stream->read(sample.offset, input, vocab);
  std::ranges::copy(input.subspan(1), target.begin());
  sample.stream->read(sample.offset + static_cast<std::int64_t>(length), target.last(1), vocab);
  if (rule.mask) {
    find_documents(*sample.stream, sample.offset, input, rule.eos, batch.first.subspan(row * length, length));
  }
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
  for (std::int64_t i = 0; i < count; ++i) {
    load_sample(dataset.sample(first_global_index + i), static_cast<std::size_t>(i),
                static_cast<std::size_t>(sequence_length), vocab, rule, batch);
  }
}

void load(TokenStream const& stream, Sampler const& sampler, std::int64_t first_global_index, std::int64_t count,
          std::int64_t vocab, DocumentRule const& rule, HostBatch const& batch) {
  check_sizes(count, sampler.sequence_length(), rule, batch);
  for (std::int64_t i = 0; i < count; ++i) {
    load_sample({&stream, sampler.token_offset(first_global_index + i)}, static_cast<std::size_t>(i),
                static_cast<std::size_t>(sampler.sequence_length()), vocab, rule, batch);
  }
}

}  // namespace jreg::data
