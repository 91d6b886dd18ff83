#pragma once

#include "backend/ops.h"

namespace jreg::backend {

/// What one call of Ops::adamw is made of, as far as all its elements share it.
struct AdamWUpdate {
  float scale;  // of the gradient
  float beta1;
  float beta2;
  float eps;
  float kept;  // 1 - rate decay
  float rate;  // rate / correction1
  float root;  // 1 / sqrt(correction2)
};

/// Not inline: kernels that are compiled for one instruction set share it with the rest of the program.
AdamWUpdate update_of(AdamW const& args);

}  // namespace jreg::backend
