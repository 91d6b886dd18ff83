#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/parse.h"
#include "data/token_stream.h"
#include "data/windows.h"
#include "store/model_files.h"

namespace jreg::commands {

/// Tokens per sequence for models that are no run's; fewer where such a model takes fewer.
inline constexpr std::int64_t default_sequence_length = 2048;

/// What jreg eval and jreg analyze have in common: a model of files, what it is to be looked at with, and where to.
struct InspectOptions {
  std::string checkpoint;
  std::string data;
  std::string output;
  bool overwrite = false;
  config::Config config;  // of the model that is looked at, on the mesh of this launch

  InspectOptions() { config.train.sequence_length = default_sequence_length; }

  /// Options of the config have a name as in jreg train; those that are often needed a short one, too.
  template <class Visit> void each_of_config(Visit&& visit) {
    using config::Rule;
    Rule const precisions = Rule::one_of({"auto", "fp32", "bf16"});
    visit("sequence-length", config.train.sequence_length, Rule::at_least(1),
          "tokens per sequence; models that are no run's may have a shorter context");
    visit("train.sequence_length", config.train.sequence_length, Rule::at_least(1), "long for --sequence-length");
    visit("batch", config.train.micro_batch, Rule::at_least(0),
          "sequences that a data rank works on at once; 0: as many as in training, 8 for models that are no run's");
    visit("train.micro_batch", config.train.micro_batch, Rule::at_least(0), "long for --batch");
    visit("tensor", config.mesh.tensor, Rule::at_least(1),
          "ranks that share one copy of the weights; the other ranks are data parallel. Where the ranks of this launch "
          "are no multiple of the run's, 1");
    visit("mesh.tensor", config.mesh.tensor, Rule::at_least(1), "long for --tensor");
    visit("sequence-parallel", config.mesh.sequence_parallel, Rule::any(),
          "tensor ranks split the tokens between blocks instead of repeating them");
    visit("mesh.sequence_parallel", config.mesh.sequence_parallel, Rule::any(), "long for --sequence-parallel");
    visit("precision", config.run.precision, precisions,
          "type of weights and activations: fp32, bf16, or auto = fp32 on cpu, bf16 on cuda");
    visit("run.precision", config.run.precision, precisions, "long for --precision");
    visit("backend", config.run.backend, Rule::one_of({"cpu", "cuda"}), "where it runs: cpu or cuda");
    visit("run.backend", config.run.backend, Rule::one_of({"cpu", "cuda"}), "long for --backend");
    visit("collective", config.run.collective, Rule::one_of({"nccl", "mpi"}),
          "how ranks exchange on the cuda backend: nccl, or mpi, where several ranks may share a GPU");
    visit("run.collective", config.run.collective, Rule::one_of({"nccl", "mpi"}), "long for --collective");
    visit("jreg.final_state", config.jreg.final_state, Rule::one_of({"block", "normed"}),
          "the last hidden state in statistics: the last block's output, or that after the final RMSNorm");
    config.data.each_of_reading(visit);
  }
};

/// What the help of both commands says of defaults.
inline constexpr char const* defaults_text =
    "Defaults stand in brackets. For a run's checkpoint the run's own values take their place, of all that is an "
    "option\n"
    "of jreg train, too, but the backend.\n\n";

/// The config that a model's files give, for this many ranks, before the command line overrides it.
config::Config config_of_files(store::ModelFiles const& files, std::int64_t ranks);

/// Completes a config that the command line has overridden, for looks at up to `sequences` sequences, and checks it.
/// Throws UserError.
void complete(config::Config& config, store::ModelFiles const& files, std::int64_t ranks, std::int64_t sequences);

/// A line, on the first rank, where sequences of `length` tokens are longer than the `longest` that the model was made
/// for: train.sequence_length of its run, or max_position_embeddings of a Hugging Face folder.
void warn_of_length(std::int64_t length, std::int64_t longest);

/// The tokens that a run's probes look at: data.validation or data.train; empty where it does not tell.
std::string probe_data(config::Config const& config);

/// The windows in which a stream is looked at; stride 0: side by side. Throws UserError where it does not fill one.
data::Windows windows_of(data::TokenStream const& stream, std::int64_t length, std::int64_t stride);

/// Throws UserError naming --output unless the file can be made: it is not there or `overwrite`, and its folder is.
void check_output(std::string const& output, bool overwrite);

/// The arguments that `Request` declares, on top of the config of a model.
template <class Request>
Request request_for(store::ModelFiles const& files, std::int64_t ranks, std::vector<std::string> const& arguments) {
  Request request;
  request.shared.config = config_of_files(files, ranks);
  config::parse_arguments(arguments, config::options_of(request), false);
  return request;
}

}  // namespace jreg::commands
