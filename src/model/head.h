#pragma once

#include "mesh/mesh.h"
#include "model/block.h"

namespace jreg::model {

/// The vocabulary-parallel classifier with cross entropy (Megatron, arXiv 1909.08053), computed in chunks of tokens,
/// so that logits are never whole.
struct HeadContext {
  BlockContext const& block;
  mesh::Mesh const& mesh;
  std::size_t weight;  // index of the head (or tied embedding) in the registry
};

/// loss (1, 1) f64 += sum over the batch's counted tokens of the cross entropy of `normed` (t, H) against its targets.
void add_loss(HeadContext const& context, Activations const& a, backend::Tensor const& normed, MicroBatch const& batch,
              backend::Tensor const& loss);

/// The same of all tokens of a.final_normed, and with it the backward pass: adds to the head's weight gradient and
/// leaves this rank's summand of scale * d(sum of losses)/d(final_normed), (T, H), in a.partial.
void add_loss_and_gradient(HeadContext const& context, Activations const& a, MicroBatch const& batch,
                           backend::Tensor const& loss, float scale);

/// logits (T, this rank's vocabulary rows) f32 of a.final_normed, whole: for tests and analysis of small batches.
void whole_logits(HeadContext const& context, Activations const& a, backend::Tensor const& logits);

}  // namespace jreg::model
