#include "optim/gradient_norm.h"

#include <algorithm>
#include <cmath>

namespace jreg::optim {

GradientNorm::GradientNorm(backend::Backend& backend, params::Store const& store, mesh::Mesh const& mesh,
                           std::vector<params::RowPart> const& owned, bool shared_by_data)
    : backend_{backend},
      store_{store},
      mesh_{mesh},
      shared_by_data_{shared_by_data},
      arena_{backend, [this](backend::Placer& placer) { sum_ = placer.tensor(DType::f64, 1, 1); }} {
  for (params::RowPart const& part : owned) {
    // What several tensor ranks hold is counted by the first of them.
    if (store.registry()[part.parameter].replica == 0) counted_.push_back(part.range);
  }
}

double GradientNorm::measure() {
  backend_.ops().zero(sum_);
  for (params::Range const& range : counted_) backend_.ops().add_squares(store_.flat_gradients(range), sum_);
  (shared_by_data_ ? mesh_.all() : mesh_.tensor()).all_reduce(sum_, backend::Reduction::sum);
  double squares = 0;
  backend_.copy_to_host(&squares, sum_.data, sizeof squares);
  return std::sqrt(squares);
}

double clip_factor(double norm, double largest) {
  return largest == 0 ? 1.0 : std::min(1.0, largest / (norm + 1e-6));
}

}  // namespace jreg::optim
