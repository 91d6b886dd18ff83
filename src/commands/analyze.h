#pragma once

#include <string>
#include <vector>

namespace jreg::commands {

/// `jreg analyze`: displacement, jump rate and further statistics of the hidden states of models, or of all checkpoints
/// of a run, into one HDF5 file, on the ranks of this launch. Options and files are checked before MPI starts. Returns
/// the exit code.
int analyze(std::vector<std::string> const& arguments);
std::string analyze_help();

}  // namespace jreg::commands
