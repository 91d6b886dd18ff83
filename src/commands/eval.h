#pragma once

#include <string>
#include <vector>

namespace jreg::commands {

/// `jreg eval`: loss, perplexity, bits per byte and per-layer statistics of a model on a token file, on the ranks of
/// this launch. Options and files are checked before MPI starts. Returns the exit code.
int eval(std::vector<std::string> const& arguments);
std::string eval_help();

}  // namespace jreg::commands
