#pragma once

#include <vector>

#include "backend/arena.h"
#include "data/sampler.h"
#include "data/token_file.h"
#include "model/llama.h"

namespace jreg::train {

/// Brings sequences of a token file to the backend, one micro-batch at a time.
class BatchFeeder {
public:
  BatchFeeder(backend::Backend& backend, std::int64_t sequence_length, std::int64_t largest_micro_batch);

  /// Samples [first, first + count) of the sampler. The result is good until the next call.
  model::MicroBatch load(data::TokenFile const& file, data::Sampler const& sampler, std::int64_t first,
                         std::int64_t count, std::int64_t vocab);
  /// Uniformly random tokens, a pure function of (seed, first, count).
  model::MicroBatch synthetic(std::int64_t seed, std::int64_t first, std::int64_t count, std::int64_t vocab);

private:
  model::MicroBatch upload(std::int64_t count);

  backend::Backend& backend_;
  std::int64_t sequence_length_;
  std::vector<std::int32_t> inputs_;
  std::vector<std::int32_t> targets_;
  backend::Tensor device_inputs_;
  backend::Tensor device_targets_;
  backend::Arena arena_;
};

}  // namespace jreg::train
