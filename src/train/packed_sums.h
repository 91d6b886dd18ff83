#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/arena.h"
#include "backend/backend.h"
#include "backend/collective.h"
#include "mesh/mesh.h"

namespace jreg::train {

/// Sums over all tokens of an update or a look, on their way through one packed all-reduce: the angular sums of every
/// layer, the loss of every data rank, and two flags that any rank may raise.
class PackedSums {
public:
  PackedSums(backend::Backend& backend, mesh::Mesh const& mesh, std::int64_t layers);

  /// Sets all to zero; `flag` and `busy` are this rank's.
  void clear(bool flag, bool busy = false);
  backend::Tensor angular() const { return angular_; }  // (L + 1, angular_sums) f64
  backend::Tensor loss() const { return loss_; }        // (1, 1) f64, this data rank's

  /// Starts the reduction; the tensors above must not be touched until finish().
  void begin();
  void progress();
  void finish();

  // After finish(), the same on every rank.
  std::span<double const> angular_sums() const;
  /// Sum of losses of data rank `rank`'s tokens.
  double loss_of(int rank) const;
  double loss_sum() const;
  bool flagged() const;
  bool busy() const;

private:
  backend::Backend& backend_;
  mesh::Mesh const& mesh_;
  backend::Tensor whole_;
  backend::Tensor angular_;
  backend::Tensor losses_;  // (1, data ranks)
  backend::Tensor loss_;
  backend::Tensor flags_;
  backend::Arena arena_;
  std::unique_ptr<backend::Pending> under_way_;
  std::vector<double> host_;
};

}  // namespace jreg::train
