#pragma once

#include <string>
#include <vector>

namespace jreg::commands {

/// Models that share a group of an analysis: checkpoints of one run, or a model alone.
struct ModelGroup {
  std::string name;                  // of the group
  std::vector<std::string> folders;  // of the models' files, by step

  bool operator==(ModelGroup const&) const = default;
};

/// The models that `paths`, with commas, names, in its order; with `all_checkpoints` every complete checkpoint of a run
/// folder instead of the newest. The only group is called "probe", as in dynamics.h5; of several each has the name of
/// its run folder, or of its own folder, with a number behind it where that is taken. Not collective. Throws UserError
/// for a path that is no model, DataError for damaged files.
std::vector<ModelGroup> find_models(std::string const& paths, bool all_checkpoints);

/// As one text, for the other ranks, and back.
std::string to_text(std::vector<ModelGroup> const& groups);
std::vector<ModelGroup> groups_of(std::string const& text);

}  // namespace jreg::commands
