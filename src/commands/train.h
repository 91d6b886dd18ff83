#pragma once

#include <string>
#include <vector>

namespace jreg::commands {

/// `jreg train`: pretrains a model on the ranks of this launch. Options are checked before MPI starts. Returns the exit
/// code; errors that only this rank knows of end all ranks.
int train(std::vector<std::string> const& arguments);
std::string train_help();

}  // namespace jreg::commands
