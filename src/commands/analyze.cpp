#include "commands/analyze.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <optional>
#include <set>

#include "backend/backend.h"
#include "base/log.h"
#include "commands/inspect.h"
#include "commands/model_groups.h"
#include "commands/ranks.h"
#include "data/documents.h"
#include "data/memory_tokens.h"
#include "data/open_tokens.h"
#include "mpi/session.h"
#include "store/agree.h"
#include "store/analysis.h"
#include "train/devices.h"
#include "train/inspection.h"

namespace jreg::commands {
namespace {

struct AnalyzeRequest {
  InspectOptions shared;
  bool all_checkpoints = false;
  std::string text;
  std::string tokenizer = "byte";
  bool logit_lens = false;
  bool skip_layers = false;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("checkpoint", shared.checkpoint, Rule::any(),
          "models, with commas: checkpoint folders, run folders (their newest checkpoint), folders of Hugging Face's "
          "with config.json and safetensors. Checkpoints of one run become rows of one group");
    visit("all-checkpoints", all_checkpoints, Rule::is_flag(), "of run folders every complete checkpoint");
    visit("output", shared.output, Rule::any(),
          "HDF5 file to write: a group per model, or /probe for one, in the layout of /probe of dynamics.h5");
    visit("overwrite", shared.overwrite, Rule::is_flag(), "replace an output file that is there already");
    visit("data", shared.data, Rule::any(),
          "tokens, named as data.train is in jreg train; empty: those that the run's own probes look at (its "
          "data.validation, or data.train)");
    visit("text", text, Rule::any(), "instead of data: a text file, made tokens by --tokenizer");
    visit("tokenizer", tokenizer, Rule::any(), "of --text: byte, or the path of a SentencePiece model");
    visit("logit-lens", logit_lens, Rule::any(),
          "also the loss where final norm and classifier read h_l, for l = 0..L (logit_lens_loss)");
    visit("skip-layers", skip_layers, Rule::any(),
          "also the loss with block l left out, for l = 1..L (skip_layer_loss)");
    shared.each_of_config(visit);
    visit("sequences", shared.config.record.probe_sequences, Rule::at_least(1),
          "sequences from the beginning of the data, fewer where it has fewer");
    visit("probe.sequences", shared.config.record.probe_sequences, Rule::at_least(1), "long for --sequences");
  }

  train::Measures measures() const {
    return {.statistics = true, .histograms = true, .logit_lens = logit_lens, .skip_layers = skip_layers};
  }
};

/// The models of a group and the tokens they are looked at with, checked.
struct Subject {
  AnalyzeRequest request;
  std::unique_ptr<data::TokenStream> stream;
  std::optional<data::Windows> windows;
  std::int64_t sequences = 0;
  std::int64_t longest = 0;  // tokens in a sequence that the model was made for

  config::Config const& config() const { return request.shared.config; }
};

std::unique_ptr<data::TokenStream> open_stream(AnalyzeRequest& request) {
  config::DataConfig const& data = request.shared.config.data;
  if (!request.text.empty()) {
    if (!request.shared.data.empty()) {
      throw UserError("--data {} and --text {}: give one of them", request.shared.data, request.text);
    }
    auto const tokenizer = data::make_tokenizer(request.tokenizer);
    return std::make_unique<data::MemoryTokens>(data::MemoryTokens::of_text(request.text, *tokenizer));
  }
  if (request.shared.data.empty()) request.shared.data = probe_data(request.shared.config);
  if (request.shared.data.empty()) throw UserError("--data: name the tokens, or give --text; the model's files do not");
  auto stream = data::open_tokens(request.shared.data, data.format);
  data::require_documents(*stream, {data.document_mask, data.eos});
  return stream;
}

/// All models of a group are looked at as the config of the last tells.
Subject open_subject(ModelGroup const& group, std::int64_t ranks, std::vector<std::string> const& arguments) {
  store::ModelFiles const files = store::open_model(group.folders.back());
  Subject subject{.request = request_for<AnalyzeRequest>(files, ranks, arguments),
                  .longest = files.config.train.sequence_length};
  config::Config& config = subject.request.shared.config;
  subject.stream = open_stream(subject.request);
  subject.windows = windows_of(*subject.stream, config.train.sequence_length, 0);
  subject.sequences = std::min(config.record.probe_sequences, subject.windows->count());
  complete(config, files, ranks, subject.sequences);
  return subject;
}

store::KeyValues attributes_of(ModelGroup const& group, Subject const& subject, train::Inspection const& inspection) {
  config::Config const& config = subject.config();
  return {{"checkpoints", fmt::format("{}", fmt::join(group.folders, ","))},
          {"data", subject.stream->name()},
          {"sequences", fmt::format("{}", subject.sequences)},
          {"sequence_length", fmt::format("{}", config.train.sequence_length)},
          {"tokens_looked_at", fmt::format("{}", subject.windows->counted(subject.sequences))},
          {"document_mask", config::value_text(config.data.document_mask)},
          {"final_state", config.jreg.final_state},
          {"precision", config.run.precision},
          {"mesh", inspection.mesh().description()},
          {"layers", fmt::format("{}", config.model.layers)},
          {"hidden", fmt::format("{}", config.model.hidden)},
          {"parameters", fmt::format("{}", inspection.parameters())}};
}

store::AnalysisRow row_of(store::ModelFiles const& files, train::Look look) {
  store::AnalysisRow row;
  row.tokens = files.tokens;
  row.hidden_norm = std::move(look.jump.hidden_norm);
  row.logit_lens_loss = std::move(look.logit_lens_loss);
  row.skip_layer_loss = std::move(look.skip_layer_loss);
  row.probe = train::probe_row(files.step, std::move(look));
  return row;
}

void print(std::string const& name, store::AnalysisRow const& row) {
  store::ProbeRow const& probe = row.probe;
  if (log::rank() != 0) return;
  std::string const step = probe.step < 0 ? "" : fmt::format(" step={}", probe.step);
  fmt::print(
      "model={}{} loss={:.6f} displacement_first={:.6f} displacement_last={:.6f} jump_rate_2={:.4f} "
      "jump_rate_last={:.4f}\n",
      name, step, probe.loss, probe.displacement.front(), probe.displacement.back(), probe.jump_rate[1],
      probe.jump_rate.back());
  std::fflush(stdout);
}

store::AnalysedModel look_at(ModelGroup const& group, Subject const& subject, mpi::Communicator const& world,
                             backend::Backend& backend) {
  AnalyzeRequest const& request = subject.request;
  train::Inspection inspection{subject.config(), world, backend, *subject.stream, *subject.windows};
  log::info("{}: {} parameters, {}, {}; memory of this rank's tensors: {:.1f} MB", group.name, inspection.parameters(),
            inspection.mesh().description(), subject.config().run.precision,
            static_cast<double>(backend.bytes_in_use()) / 1e6);
  store::AnalysedModel model{group.name, subject.config().model.layers, request.logit_lens, request.skip_layers};
  model.attributes = attributes_of(group, subject, inspection);
  for (std::string const& folder : group.folders) {
    std::optional<store::ModelFiles> files;
    store::agree(world, [&] { files.emplace(store::open_model(folder)); });
    inspection.load(*files->tensors);
    store::AnalysisRow const row = row_of(*files, inspection.look(subject.sequences, request.measures()));
    print(group.name, row);
    model.rows.append(row.cells());
  }
  return model;
}

ExitCode run(mpi::Communicator const& world, std::vector<ModelGroup> const& found,
             std::vector<std::string> const& arguments) {
  // The first rank's choice: a run may save another checkpoint meanwhile.
  std::string text = to_text(found);
  world.broadcast(text, 0);
  std::vector<ModelGroup> const groups = groups_of(text);
  std::unique_ptr<backend::Backend> backend;
  std::vector<store::AnalysedModel> models;
  AnalyzeRequest asked;
  config::parse_arguments(arguments, config::options_of(asked), false);
  std::set<std::string> data;
  for (ModelGroup const& group : groups) {
    std::optional<Subject> subject;
    store::agree(world, [&] { subject.emplace(open_subject(group, world.size(), arguments)); });
    warn_of_length(subject->config().train.sequence_length, subject->longest);
    data.insert(subject->stream->name());
    if (!backend) backend = train::start_backend(subject->config().run, world);
    models.push_back(look_at(group, *subject, world, *backend));
  }
  store::agree_on_first(world, [&] {
    store::write_analysis(asked.shared.output, {{"data", fmt::format("{}", fmt::join(data, ","))}}, models);
  });
  log::info("wrote {}", asked.shared.output);
  return ExitCode::done;
}

/// Everything about the request that can be checked without the other ranks.
std::vector<ModelGroup> check(std::vector<std::string> const& arguments) {
  AnalyzeRequest asked;
  config::parse_arguments(arguments, config::options_of(asked), false);
  if (asked.shared.checkpoint.empty()) throw UserError("--checkpoint: name the folder of a model, or several");
  if (asked.shared.output.empty()) throw UserError("--output: name the HDF5 file to write");
  check_output(asked.shared.output, asked.shared.overwrite);
  std::vector<ModelGroup> groups = find_models(asked.shared.checkpoint, asked.all_checkpoints);
  for (ModelGroup const& group : groups) {
    Subject const subject = open_subject(group, mpi::launched_ranks(), arguments);
    data::check_tokens(*subject.stream, subject.config().model.vocab);
    backend::require_backend(subject.config().run.backend, subject.config().run.collective);
  }
  return groups;
}

}  // namespace

int analyze(std::vector<std::string> const& arguments) {
  std::vector<ModelGroup> groups;
  try {
    groups = check(arguments);
  } catch (Error const& error) {
    return refuse(error);
  }
  return run_on_ranks([&](mpi::Communicator const& world) { return run(world, groups, arguments); });
}

std::string analyze_help() {
  AnalyzeRequest request;
  return std::string{
             "jreg analyze --checkpoint MODEL[,MODEL...] --output FILE.h5 [options]\n\n"
             "How far each layer of some models turns the hidden state: displacement, jump rate and more, on the "
             "first\n"
             "sequences of some tokens, on the ranks of this launch (mpirun, srun, or alone).\n"} +
         defaults_text + config::help_text(config::options_of(request));
}

}  // namespace jreg::commands
