#pragma once

#include <vector>

#include "backend/arena.h"
#include "mesh/mesh.h"
#include "params/partition.h"
#include "params/store.h"

namespace jreg::optim {

/// The 2-norm of the whole model's gradient, each element counted once on whatever mesh.
class GradientNorm {
public:
  /// `owned`: the parts of the flat gradients that are whole on this rank. `shared_by_data`: other data ranks own other
  /// parts (ZeRO-1); otherwise they own the same.
  GradientNorm(backend::Backend& backend, params::Store const& store, mesh::Mesh const& mesh,
               std::vector<params::RowPart> const& owned, bool shared_by_data);

  /// Collective; the same number on every rank. NaN or infinite where a gradient is.
  double measure();

private:
  backend::Backend& backend_;
  params::Store const& store_;
  mesh::Mesh const& mesh_;
  std::vector<params::Range> counted_;
  bool shared_by_data_;
  backend::Tensor sum_;  // (1, 1) f64
  backend::Arena arena_;
};

/// The factor that brings a gradient of this norm to at most `largest`, as torch.nn.utils.clip_grad_norm_ has it:
/// min(1, largest / (norm + 1e-6)); 1 where `largest` is 0.
double clip_factor(double norm, double largest);

}  // namespace jreg::optim
