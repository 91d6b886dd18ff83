#include "commands/model_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/error.h"
#include "store/checkpoint.h"
#include "store/model_files.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

/// A group while it is being put together.
struct Found {
  fs::path owner;                             // the run's folder, or the model's own
  std::map<std::int64_t, std::string> steps;  // -> folder
};

/// The run that a checkpoint belongs to, or the folder itself.
fs::path owner_of(fs::path const& folder) {
  fs::path const whole = fs::weakly_canonical(folder);
  return whole.parent_path().filename() == "checkpoints" ? whole.parent_path().parent_path() : whole;
}

void add(std::vector<Found>& found, fs::path const& folder, std::int64_t step) {
  fs::path const owner = owner_of(folder);
  auto at = std::ranges::find(found, owner, &Found::owner);
  if (at == found.end()) at = found.insert(found.end(), Found{owner, {}});
  at->steps.emplace(step, folder.string());
}

void add_path(std::vector<Found>& found, fs::path const& path, bool all_checkpoints) {
  std::error_code error;
  if (all_checkpoints && fs::is_directory(path / "checkpoints", error)) {
    std::size_t complete = 0;
    for (auto const& [step, folder] : store::list_checkpoints(path)) {
      if (!store::is_complete(folder)) continue;
      add(found, folder, step);
      ++complete;
    }
    if (complete > 0) return;  // without any, opening it says so
  }
  store::ModelFiles const files = store::open_model(path);
  add(found, files.tensors->folder(), files.step);
}

}  // namespace

std::vector<ModelGroup> find_models(std::string const& paths, bool all_checkpoints) {
  std::vector<Found> found;
  std::istringstream stream{paths};
  for (std::string path; std::getline(stream, path, ',');) {
    if (path.empty()) throw UserError("--checkpoint {}: names nothing between two commas", paths);
    add_path(found, path, all_checkpoints);
  }
  if (found.empty()) throw UserError("--checkpoint: name the folder of a model");
  std::vector<ModelGroup> groups;
  std::set<std::string> taken;
  for (Found const& one : found) {
    std::string const base = found.size() == 1 ? "probe" : one.owner.filename().string();
    ModelGroup group{base, {}};
    for (int number = 2; !taken.insert(group.name).second; ++number) group.name = fmt::format("{}_{}", base, number);
    for (auto const& [step, folder] : one.steps) group.folders.push_back(folder);
    groups.push_back(std::move(group));
  }
  return groups;
}

std::string to_text(std::vector<ModelGroup> const& groups) {
  nlohmann::json json = nlohmann::json::array();
  for (ModelGroup const& group : groups) json.push_back({group.name, group.folders});
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<ModelGroup> groups_of(std::string const& text) {
  std::vector<ModelGroup> groups;
  for (nlohmann::json const& group : nlohmann::json::parse(text)) {
    groups.push_back({group.at(0).get<std::string>(), group.at(1).get<std::vector<std::string>>()});
  }
  return groups;
}

}  // namespace jreg::commands
