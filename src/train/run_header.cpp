// What the first rank tells of a run before it begins.
#include "base/log.h"
#include "base/version.h"
#include "train/machine.h"
#include "train/memory.h"
#include "train/trainer.h"

namespace jreg::train {

void Trainer::log_header() const {
  config::Config const& c = config_;
  log::info("jreg {} ({}), run {} in {}", version(), commit(), run_id_, c.run.dir);
  log::info("{} rank(s), mesh {}, {} {}", mesh_.world().size(), mesh_.description(), c.run.precision,
            backend_.description());
  log::info("model: {} layers, hidden {}, heads {}/{}, ffn {}, vocabulary {}: {} parameters", c.model.layers,
            c.model.hidden, c.model.heads, c.model.kv_heads, c.model.ffn, c.model.vocab,
            session_.store().registry().global_size());
  for (std::size_t i = 0; i < files_.train.sources(); ++i) {
    data::TokenStream const& stream = files_.train.stream(i);
    log::info("data: {:.6g} % of the sequences from {}: {} tokens, {:.3g} epoch(s) in the whole run",
              100 * files_.train.proportion(i), stream.name(), stream.tokens(),
              files_.train.epochs(i, c.train.steps * c.train.global_batch));
  }
  if (c.data.document_mask) log::info("documents: attention stays within each, and positions restart");
  log::info("an update takes {} sequences of {} = {} tokens, {} at a time on a data rank", c.train.global_batch,
            c.train.sequence_length, session_.tokens_per_update(), session_.micro_batch());
  if (!files_.validation)
    log::info("data.validation is empty: probes look at the first sequences of {}", files_.train.stream(0).name());
  log::info("JREG: penalty {}, weights {}, lambda {}, final state {}", c.jreg.penalty, c.jreg.weights, c.jreg.lambda,
            c.jreg.final_state);
  auto const bytes = static_cast<std::int64_t>(backend_.bytes_in_use());
  log::info("memory per rank: {:.1f} MB of tensors, {:.1f} MB of them activations (train.recompute = {}): {}",
            static_cast<double>(bytes) / 1e6, static_cast<double>(session_.model().activation_bytes()) / 1e6,
            c.train.recompute, memory_text(memory_terms(session_), bytes));
  log::info("memory per rank of the copy for checkpoints: {:.1f} MB", static_cast<double>(saver_.bytes()) / 1e6);
  if (first_rank()) warn_of_narrow_binding();
}

}  // namespace jreg::train
