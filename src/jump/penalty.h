#pragma once

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "jump/statistics.h"

namespace jreg::jump {

/// The JREG penalty of a run:  loss = cross entropy + lambda(update) R,  with Psi_l the means over the global batch and
///   displacement  R = sum_l w_l Psi_l
///   jump          R = sum_{l>=2} w_l max(0, Psi_l - Psi_{l-1})
/// Which terms of `jump` are on for the gradient is decided by gates [Psi_l > Psi_{l-1}] of the update before, so that
/// every micro-batch on every rank uses the same ones without waiting. At first all gates are 0.
class Penalty {
public:
  /// Throws UserError as depth_weights does.
  Penalty(config::JregConfig const& config, std::int64_t layers);

  std::vector<double> const& weights() const noexcept { return weights_; }  // (L)

  /// lambda of update `step` (0, 1, ...): rises linearly and is whole from update warmup_steps - 1 on.
  double lambda(std::int64_t step) const;
  /// Whether update `step` has a penalty at all.
  bool active(std::int64_t step) const { return lambda(step) > 0; }

  /// (L) g_l = lambda(step) dR/dPsi_l / tokens, with `tokens` those of the global batch: the factor of each token's
  /// dPsi_l/dh. All zero where the update has no penalty.
  std::vector<double> coefficients(std::int64_t step, std::int64_t tokens) const;

  /// R at the given Psi, whatever the gates are.
  double value(JumpStatistics const& statistics) const;

  /// Sets the gates for the next update from those of this one. Where a Psi is not finite they stay as they are.
  void observe(JumpStatistics const& statistics);

  /// (L) 0 or 1; gates()[0], that of layer 1, is always 0.
  std::vector<std::int8_t> const& gates() const noexcept { return gates_; }
  /// Throws DataError unless these are L values 0 or 1 with a first one of 0.
  void set_gates(std::vector<std::int8_t> gates);

private:
  bool is_jump_;
  double lambda_;
  std::int64_t warmup_steps_;
  std::vector<double> weights_;
  std::vector<std::int8_t> gates_;
};

}  // namespace jreg::jump
