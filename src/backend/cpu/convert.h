#pragma once

#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu {

/// to = from, converting between f32 and bf16; same shape, other types must be equal. Runs on all threads.
void convert(KernelTable const& kernels, Tensor const& from, Tensor const& to);

}  // namespace jreg::backend::cpu
