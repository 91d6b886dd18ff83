#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"
#include "data/documents.h"
#include "data/token_stream.h"
#include "data/windows.h"

namespace jreg::data {

/// Which samples of an update belong to one data rank. Update `step` covers the global sample indexes
/// [step * global_batch, (step + 1) * global_batch) on every mesh; rank r takes the r-th of data_ranks equal contiguous
/// blocks, micro batch by micro batch.
class BatchPlan {
public:
  /// `micro_batch` 0: the whole block at once. The sizes divide (config::validate refuses others).
  BatchPlan(std::int64_t global_batch, std::int64_t data_ranks, std::int64_t data_rank, std::int64_t micro_batch);

  /// Sequences in one micro batch.
  std::int64_t micro_batch() const noexcept { return micro_batch_; }
  /// Micro batches of this rank per update.
  std::int64_t micro_batches() const noexcept { return per_rank_ / micro_batch_; }
  /// Global index of the first sample of micro batch `micro`; the others follow it.
  std::int64_t first_sample(std::int64_t step, std::int64_t micro) const;

private:
  std::int64_t global_batch_;
  std::int64_t per_rank_;
  std::int64_t data_rank_;
  std::int64_t micro_batch_;
};

/// Where a batch goes, (count, sequence_length) each.
struct HostBatch {
  std::span<std::int32_t> inputs;
  std::span<std::int32_t> targets;     // the inputs moved on by one token
  std::span<std::int32_t> first = {};  // see find_documents; filled where the rule masks documents
};

/// Fills a batch with samples [first_global_index, first_global_index + count). Allocates nothing. Throws DataError for
/// ids outside `vocab`. The last token of a document has the first of the next as its target, as in Megatron-LM
/// without --eod-mask-loss: all runs then count the same targets.
void load(Dataset& dataset, std::int64_t sequence_length, std::int64_t first_global_index, std::int64_t count,
          std::int64_t vocab, DocumentRule const& rule, HostBatch const& batch);
/// The same of windows [first, first + count) of one stream; where a window is shorter than the others, tokens 0 fill
/// it up.
void load(TokenStream const& stream, Windows const& windows, std::int64_t first, std::int64_t count, std::int64_t vocab,
          DocumentRule const& rule, HostBatch const& batch);

}  // namespace jreg::data
