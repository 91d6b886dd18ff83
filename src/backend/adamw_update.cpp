#include "backend/adamw_update.h"

#include <cmath>

namespace jreg::backend {

AdamWUpdate update_of(AdamW const& args) {
  return {.scale = args.gradient_scale,
          .beta1 = args.beta1,
          .beta2 = args.beta2,
          .eps = args.eps,
          .kept = 1 - args.rate * args.decay,
          .rate = args.rate / args.correction1,
          .root = 1 / std::sqrt(args.correction2)};
}

}  // namespace jreg::backend
