#pragma once

#include <span>
#include <string>

#include "plan/search.h"

namespace jreg::plan {

/// Memory, bytes on the wire, time and JREG's cost of one plan that fits, term by term.
std::string report(Plan const& plan, Machine const& machine);

/// The first rows of `plans`, a line each under a head; `chosen` is marked.
std::string table(std::span<Plan const> plans, Machine const& machine, std::string const& chosen);

/// "plan: data 8 x tensor 1, zero1, micro batch 2, recompute none; 21.30 GB per rank; 312345 tokens/s"
std::string last_line(Plan const& plan);

/// A Markdown table of the fastest plan for 1, 2, 4 ... 1024 ranks.
std::string scaling_table(config::Config const& config, Machine const& machine);

}  // namespace jreg::plan
