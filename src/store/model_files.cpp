#include "store/model_files.h"

#include <algorithm>

#include "base/error.h"
#include "config/validate.h"
#include "store/checkpoint.h"
#include "store/huggingface_folder.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

ModelFiles open_checkpoint(fs::path const& folder) {
  auto reader = std::make_unique<CheckpointReader>(folder);
  State const& state = reader->state();
  ModelFiles files{.config = config_of(state.config, folder),
                   .step = state.step,
                   .tokens = state.tokens,
                   .data_ranks = state.data_ranks};
  files.tensors = std::move(reader);
  return files;
}

ModelFiles open_huggingface(fs::path const& folder) {
  auto folder_reader = std::make_unique<HuggingFaceFolder>(folder);
  ModelFiles files{.config = folder_reader->config()};
  files.tensors = std::move(folder_reader);
  return files;
}

}  // namespace

config::Config config_of(KeyValues const& stored, fs::path const& file) {
  config::Config config;
  std::vector<config::Option> const options = config::options_of(config);
  try {
    for (auto const& [key, value] : stored) {
      auto const option = std::ranges::find(options, key, &config::Option::name);
      if (option != options.end()) option->set(value);
    }
    config::resolve(config);
    config::validate_model(config.model);
  } catch (UserError const& error) {
    throw DataError("{}: {}", file.string(), error.what());
  }
  return config;
}

ModelFiles open_model(fs::path const& path) {
  std::error_code error;
  if (!fs::exists(path, error)) throw UserError("{}: is not there", path.string());
  if (fs::exists(path / "manifest.json", error)) return open_checkpoint(path);
  if (fs::is_directory(path / "checkpoints", error)) {
    for (auto const& [step, folder] : list_checkpoints(path)) {
      if (is_complete(folder)) return open_checkpoint(folder);
    }
    throw UserError("{}: the run has no complete checkpoint", path.string());
  }
  if (fs::exists(path / "config.json", error)) return open_huggingface(path);
  throw UserError(
      "{}: is no model: give a checkpoint folder (.../checkpoints/step_XXXXXXXX), a run folder, or a folder of Hugging "
      "Face's with config.json and safetensors",
      path.string());
}

}  // namespace jreg::store
