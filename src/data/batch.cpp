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

void load(TokenFile const& file, Sampler const& sampler, std::int64_t first_global_index, std::int64_t count,
          std::int64_t vocab, std::span<std::int32_t> inputs, std::span<std::int32_t> targets) {
  auto const length = static_cast<std::size_t>(sampler.sequence_length());
  expect_equal(inputs.size(), static_cast<std::size_t>(count) * length, "load: size of inputs");
  expect_equal(targets.size(), inputs.size(), "load: size of targets");
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t const first = sampler.token_offset(first_global_index + i);
    auto const input = inputs.subspan(static_cast<std::size_t>(i) * length, length);
    auto const target = targets.subspan(static_cast<std::size_t>(i) * length, length);
    file.read(first, input, vocab);
    std::ranges::copy(input.subspan(1), target.begin());
    file.read(first + sampler.sequence_length(), target.last(1), vocab);
  }
}

}  // namespace jreg::data
