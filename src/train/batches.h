#pragma once

#include <vector>

#include "backend/arena.h"
#include "data/batch.h"
#include "model/llama.h"

namespace jreg::train {

/// Brings sequences of tokens to the backend, one micro-batch at a time.
class BatchFeeder {
public:
  /// Where `documents` masks, micro-batches say where each token's document begins.
  BatchFeeder(backend::Backend& backend, std::int64_t sequence_length, std::int64_t largest_micro_batch,
              data::DocumentRule const& documents = {});

  /// Samples [first, first + count) of the dataset. The result is good until the next call.
  model::MicroBatch load(data::Dataset& dataset, std::int64_t first, std::int64_t count, std::int64_t vocab);
  /// Windows [first, first + count) of one stream, with the tokens that count.
  model::MicroBatch load(data::TokenStream const& stream, data::Windows const& windows, std::int64_t first,
                         std::int64_t count, std::int64_t vocab);
  /// Uniformly random tokens, a pure function of (seed, first, count).
  model::MicroBatch synthetic(std::int64_t seed, std::int64_t first, std::int64_t count, std::int64_t vocab);

private:
  data::HostBatch host_batch(std::int64_t count);
  model::MicroBatch upload(std::int64_t count, bool documents);

  backend::Backend& backend_;
  std::int64_t sequence_length_;
  data::DocumentRule documents_;
  std::vector<std::int32_t> inputs_;
  std::vector<std::int32_t> targets_;
  std::vector<std::int32_t> first_;  // empty where documents are not masked
  backend::Tensor device_inputs_;
  backend::Tensor device_targets_;
  backend::Tensor device_first_;
  backend::Arena arena_;
};

}  // namespace jreg::train
