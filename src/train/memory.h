#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/session.h"

namespace jreg::train {

/// A part of a rank's memory.
struct MemoryTerm {
  std::string name;
  std::int64_t bytes = 0;
};

/// What the tensors of a session take, by what they hold; terms of 0 bytes are left out. The rest of what the session
/// allocated is tables of RoPE and alignment.
std::vector<MemoryTerm> memory_terms(TrainingSession const& session);

/// "weights 1.5 MB, gradients 3.0 MB, ..., other 0.1 MB", where `total` bytes are more than the terms.
std::string memory_text(std::span<MemoryTerm const> terms, std::int64_t total);

}  // namespace jreg::train
