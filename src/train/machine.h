#pragma once

#include <cstdint>
#include <string>

#include "backend/backend.h"

namespace jreg::train {

/// Floating point operations per second of a large matrix product on this rank (of a smaller one, where that would take
/// more than a second), measured now (about a tenth of a second): the peak that model FLOP utilisation refers to. Call
/// it on all ranks at once, so that they share the machine as they do in a step.
double measured_gemm_rate(backend::Backend& backend, DType dtype);

/// Bytes per second that this rank reads from memory, out of a tensor that no cache holds; measured now, on all ranks
/// at once.
double measured_memory_rate(backend::Backend& backend);

/// What this rank's processor does at most, measured.
struct MachineRates {
  double products = 0;    // floating point operations per second of a large matrix product
  double arithmetic = 0;  // of the arithmetic units on registers; 0: not known
  double memory = 0;      // bytes read per second
};

/// Resident memory of this process now, and the largest so far, in bytes.
std::int64_t resident_bytes();
std::int64_t peak_resident_bytes();

/// Now, as ISO 8601 in UTC.
std::string utc_now();

/// Says so when this process may run on fewer cores than its OpenMP threads (a launcher's binding does that).
void warn_of_narrow_binding();

}  // namespace jreg::train
