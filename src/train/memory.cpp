#include "train/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace jreg::train {
namespace {

/// Adds up tensors, each place in memory once: blocks share what is computed again.
class Sum {
public:
  void add(backend::Tensor const& tensor) {
    if (tensor && seen_.insert(tensor.data).second) bytes_ += tensor.bytes();
  }
  std::int64_t bytes() const noexcept { return bytes_; }

private:
  std::set<void const*> seen_;
  std::int64_t bytes_ = 0;
};

template <class... Tensors> std::int64_t bytes_of(Tensors const&... tensors) {
  Sum sum;
  (sum.add(tensors), ...);
  return sum.bytes();
}

std::int64_t block_bytes(model::Activations const& a) {
  Sum sum;
  for (model::BlockActivations const& b : a.blocks) {
    for (backend::Tensor const& tensor :
         {b.attention_rstd, b.qkv, b.log_sum_exp, b.attended, b.middle, b.mlp_rstd, b.gate_up}) {
      sum.add(tensor);
    }
  }
  return sum.bytes();
}

std::int64_t state_bytes(model::Activations const& a) {
  Sum sum;
  for (backend::Tensor const& hidden : a.hidden) sum.add(hidden);
  for (backend::AngularRows const& rows : a.angular) {
    for (backend::Tensor const& row : {rows.norm, rows.displacement, rows.update_norm}) sum.add(row);
  }
  sum.add(a.final_rstd);
  sum.add(a.final_normed);
  return sum.bytes();
}

}  // namespace

std::vector<MemoryTerm> memory_terms(TrainingSession const& session) {
  params::Store const& store = session.store();
  params::Range const all{0, store.registry().flat_size()};
  model::Activations const& a = session.model().memory();
  std::vector<MemoryTerm> terms{
      {"weights", store.flat_weights(all).bytes()},
      {"gradients", store.flat_gradients(all).bytes()},
      {"master weights", session.adamw().master_bytes()},
      {"moments", session.adamw().moment_bytes()},
      {"activations of blocks", block_bytes(a)},
      {"hidden states", state_bytes(a)},
      {"scratch of a pass", bytes_of(a.normed, a.full, a.partial, a.local, a.hidden_gradient, a.maximum, a.token_sums) +
                                std::max(bytes_of(a.mlp, a.mlp_gradient, a.qkv_gradient, a.attended_gradient),
                                         bytes_of(a.logits, a.logits_low))},  // in the same memory
  };
  std::erase_if(terms, [](MemoryTerm const& term) { return term.bytes == 0; });
  return terms;
}

std::string memory_text(std::span<MemoryTerm const> terms, std::int64_t total) {
  std::string text;
  for (MemoryTerm const& term : terms) {
    text += fmt::format("{} {:.1f} MB, ", term.name, static_cast<double>(term.bytes) / 1e6);
    total -= term.bytes;
  }
  return text + fmt::format("other {:.1f} MB", static_cast<double>(total) / 1e6);
}

}  // namespace jreg::train
