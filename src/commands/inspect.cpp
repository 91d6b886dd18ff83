#include "commands/inspect.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "config/sources.h"
#include "config/validate.h"
#include "train/model_session.h"

namespace jreg::commands {
namespace fs = std::filesystem;

config::Config config_of_files(store::ModelFiles const& files, std::int64_t ranks) {
  config::Config config = files.config;
  if (ranks % config.mesh.tensor != 0) {
    config.mesh.tensor = 1;
    config.mesh.sequence_parallel = false;
  }
  if (probe_data(config).empty()) {  // no run: what it was trained with is not known, only how long a context may be
    config.train.sequence_length = std::min(config.train.sequence_length, default_sequence_length);
  }
  // Nothing trains, in whatever precision.
  config.mesh.zero1 = false;
  config.optim.master_weights = true;
  config.run.backend = config::RunConfig{}.backend;  // a run's machine may have had another
  config.run.collective = config::RunConfig{}.collective;
  return config;
}

void complete(config::Config& config, store::ModelFiles const& files, std::int64_t ranks, std::int64_t sequences) {
  config::resolve(config);
  std::int64_t const data_ranks = std::max<std::int64_t>(1, ranks / config.mesh.tensor);
  std::int64_t const asked = train::micro_batch_of(config, static_cast<int>(files.data_ranks));
  // Memory for no more than there is to do.
  std::int64_t const share = (sequences + data_ranks - 1) / data_ranks;
  config.train.micro_batch = std::clamp<std::int64_t>(asked, 1, share);
  config.train.global_batch = config.train.micro_batch * data_ranks;
  config::validate(config, ranks);
}

void warn_of_length(std::int64_t length, std::int64_t longest) {
  if (log::rank() != 0 || length <= longest) return;
  log::warning("--sequence-length {}: the model was made for {} tokens at most; the numbers tell how it goes on beyond",
               length, longest);
}

std::string probe_data(config::Config const& config) {
  if (!config.data.validation.empty()) return config.data.validation;
  if (config.data.sources.empty()) return config.data.train;
  return config::parse_sources(config.data.sources).front().path;
}

data::Windows windows_of(data::TokenStream const& stream, std::int64_t length, std::int64_t stride) {
  if (stride > length) throw UserError("--stride {} is more than --sequence-length {}", stride, length);
  try {
    return stride > 0 ? data::Windows::sliding(stream.tokens(), length, stride)
                      : data::Windows{stream.tokens(), length};
  } catch (UserError const& error) {
    throw UserError("{}: {}", stream.name(), error.what());
  }
}

void check_output(std::string const& output, bool overwrite) {
  std::error_code error;
  if (output.ends_with('/') || fs::is_directory(output, error)) {
    throw UserError("--output {}: is a folder; name a file", output);
  }
  if (!overwrite && fs::exists(output, error)) {
    throw UserError("--output {}: is there already; choose another name or add --overwrite", output);
  }
  fs::path const folder = fs::absolute(output, error).parent_path();
  if (!fs::is_directory(folder, error)) throw UserError("--output {}: there is no folder {}", output, folder.string());
}

}  // namespace jreg::commands
