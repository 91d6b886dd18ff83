#pragma once

#include "backend/cpu/kernels.h"

namespace jreg::backend::cpu {

/// Floating point operations per second of this process's OpenMP threads on values in registers: multiply-adds of fp32,
/// or for bf16 dot products of bf16 pairs where the processor has them (AVX512-BF16). Measured now, in some
/// milliseconds.
double arithmetic_peak(KernelTable const& kernels, DType dtype);

}  // namespace jreg::backend::cpu
