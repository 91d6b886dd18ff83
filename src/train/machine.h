#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"

namespace jreg::train {

/// Floating point operations per second of a large matrix product on this rank, measured now (about a tenth of a
/// second): the peak that model FLOP utilisation refers to. Call it on all ranks at once, so that they share the
/// machine as they do in a step.
double measured_gemm_rate(backend::Backend& backend, DType dtype);

/// Largest resident memory of this process so far, in bytes.
std::int64_t peak_resident_bytes();

/// Now, as ISO 8601 in UTC.
std::string utc_now();

/// Says so when this process may run on fewer cores than its OpenMP threads (a launcher's binding does that).
void warn_of_narrow_binding();

}  // namespace jreg::train
