#pragma once

#include <string>
#include <vector>

namespace jreg::commands {

/// `jreg info PATH...`: prints what each path is: checkpoint folder, run folder, dynamics file, token file. Returns the
/// exit code; throws UserError for a path that is not there or nothing of ours, DataError for a damaged one. No MPI.
int info(std::vector<std::string> const& arguments);
std::string info_help();

/// `jreg verify PATH...`: checks sizes and hashes and names every damaged file; returns 65 when there is one. No MPI.
int verify(std::vector<std::string> const& arguments);
std::string verify_help();

}  // namespace jreg::commands
