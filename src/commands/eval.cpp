#include "commands/eval.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "backend/backend.h"
#include "base/log.h"
#include "base/version.h"
#include "commands/inspect.h"
#include "commands/ranks.h"
#include "data/documents.h"
#include "data/open_tokens.h"
#include "data/output_file.h"
#include "data/text_bytes.h"
#include "mpi/session.h"
#include "store/agree.h"
#include "train/devices.h"
#include "train/inspection.h"

namespace jreg::commands {
namespace {

struct EvalRequest {
  InspectOptions shared;
  std::int64_t sequences = 0;
  std::int64_t stride = 0;
  std::string tokenizer = "auto";
  std::int64_t bytes = 0;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("checkpoint", shared.checkpoint, Rule::any(),
          "the model: a checkpoint folder, a run folder (its newest checkpoint), or a folder of Hugging Face's with "
          "config.json and safetensors");
    visit("data", shared.data, Rule::any(),
          "tokens, named as data.train is in jreg train; empty: the run's data.validation, or data.train");
    visit("sequences", sequences, Rule::at_least(0), "sequences from the beginning of the data; 0: all");
    visit("stride", stride, Rule::at_least(0),
          "each sequence begins so many tokens behind the one before, and only its new tokens count, predicted from at "
          "least sequence-length - stride tokens; the end of the data counts too. 0: sequences lie side by side, whole "
          "ones only, as a validation loss has them");
    visit("tokenizer", tokenizer, Rule::any(),
          "for bits per byte: byte, or the path of the SentencePiece model that made the tokens; auto: what the "
          "description beside the tokens (PREFIX.json) tells");
    visit("bytes", bytes, Rule::at_least(0),
          "for bits per byte: bytes of text that the whole of the data stand for; 0: see tokenizer");
    visit("output", shared.output, Rule::any(), "file for the results as JSON; empty: none");
    visit("overwrite", shared.overwrite, Rule::is_flag(), "replace an output file that is there already");
    shared.each_of_config(visit);
  }
};

/// A model and tokens, checked.
struct Subject {
  EvalRequest request;
  store::ModelFiles files;
  std::unique_ptr<data::TokenStream> stream;
  std::optional<data::Windows> windows;
  std::int64_t sequences = 0;  // windows that are looked at

  config::Config const& config() const { return request.shared.config; }
};

/// `folder` is that of the model's files.
Subject open_subject(std::string const& folder, std::int64_t ranks, std::vector<std::string> const& arguments) {
  Subject subject{.files = store::open_model(folder)};
  subject.request = request_for<EvalRequest>(subject.files, ranks, arguments);
  EvalRequest& request = subject.request;
  config::Config& config = request.shared.config;
  if (request.shared.data.empty()) request.shared.data = probe_data(config);
  if (request.shared.data.empty()) throw UserError("--data: name the tokens; the model's files do not");
  subject.stream = data::open_tokens(request.shared.data, config.data.format);
  data::require_documents(*subject.stream, {config.data.document_mask, config.data.eos});
  subject.windows = windows_of(*subject.stream, config.train.sequence_length, request.stride);
  subject.sequences =
      request.sequences > 0 ? std::min(request.sequences, subject.windows->count()) : subject.windows->count();
  complete(config, subject.files, ranks, subject.sequences);
  return subject;
}

/// Bytes of text behind the predicted tokens, and who tells.
struct Bytes {
  double count = 0;
  std::string source;
};

/// As much of the text as `predicted` is of the tokens.
double share_of(std::int64_t text_bytes, std::int64_t predicted, std::int64_t tokens) {
  return static_cast<double>(text_bytes) * static_cast<double>(predicted) / static_cast<double>(tokens);
}

std::optional<Bytes> bytes_of(Subject const& subject) {
  EvalRequest const& request = subject.request;
  data::TokenStream const& stream = *subject.stream;
  std::int64_t const predicted = subject.windows->counted(subject.sequences);
  if (request.bytes > 0) return Bytes{share_of(request.bytes, predicted, stream.tokens()), "--bytes"};
  std::string tokenizer = request.tokenizer;
  if (tokenizer == "auto") {
    auto const description = data::find_description(request.shared.data, stream.tokens());
    if (!description) return std::nullopt;
    if (description->tokenizer != "byte") {
      return Bytes{share_of(description->text_bytes, predicted, stream.tokens()), description->file};
    }
    tokenizer = "byte";
  }
  auto const made_by = data::make_tokenizer(tokenizer);
  return Bytes{static_cast<double>(data::count_text_bytes(stream, 1, predicted, *made_by)), tokenizer};
}

/// What the command finds out.
struct Result {
  train::Look look;
  std::optional<Bytes> bytes;
  std::string mesh;

  std::optional<double> bits_per_byte() const {
    if (!bytes || !(bytes->count > 0)) return std::nullopt;
    return look.loss * static_cast<double>(look.tokens) / std::numbers::ln2 / bytes->count;
  }
};

std::string table_of(jump::JumpStatistics const& jump) {
  std::string text = fmt::format("{:>5}  {:>12}  {:>9}  {:>9}  {:>15}  {:>10}  {:>11}\n", "layer", "displacement",
                                 "jump_rate", "angle", "relative_update", "cosine_std", "hidden_norm");
  text += fmt::format("{:>5}  {:>12}  {:>9}  {:>9}  {:>15}  {:>10}  {:>11.5g}\n", 0, "", "", "", "", "",
                      jump.hidden_norm[0]);
  for (std::size_t l = 0; l < jump.displacement.size(); ++l) {
    std::string const rate = l == 0 ? "" : fmt::format("{:.4f}", jump.jump_rate[l]);
    text +=
        fmt::format("{:>5}  {:>12.6f}  {:>9}  {:>9.5f}  {:>15.5f}  {:>10.5f}  {:>11.5g}\n", l + 1, jump.displacement[l],
                    rate, jump.angle[l], jump.relative_update[l], jump.cosine_std[l], jump.hidden_norm[l + 1]);
  }
  return text;
}

void print(Subject const& subject, Result const& result) {
  EvalRequest const& request = subject.request;
  std::string const step = subject.files.step < 0 ? "" : fmt::format(" step={}", subject.files.step);
  fmt::print("checkpoint={}{} data={} sequences={} sequence_length={} stride={} tokens={}\n",
             subject.files.tensors->folder().string(), step, request.shared.data, subject.sequences,
             subject.config().train.sequence_length, request.stride, result.look.tokens);
  fmt::print("loss={:.6f} perplexity={:.4f}", result.look.loss, std::exp(result.look.loss));
  if (auto const bits = result.bits_per_byte()) {
    fmt::print(" bits_per_byte={:.6f} bytes={:.0f}", *bits, result.bytes->count);
  }
  fmt::print("\n{}", table_of(result.look.jump));
  std::fflush(stdout);
}

void write_json(Subject const& subject, Result const& result) {
  EvalRequest const& request = subject.request;
  config::Config const& config = subject.config();
  jump::JumpStatistics const& jump = result.look.jump;
  nlohmann::ordered_json json;
  json["program"] = fmt::format("jreg {} ({})", version(), commit());
  json["checkpoint"] = subject.files.tensors->folder().string();
  if (subject.files.step >= 0) json["step"] = subject.files.step;
  json["data"] = request.shared.data;
  json["sequences"] = subject.sequences;
  json["sequence_length"] = config.train.sequence_length;
  json["stride"] = request.stride;
  json["document_mask"] = config.data.document_mask;
  json["precision"] = config.run.precision;
  json["mesh"] = result.mesh;
  json["final_state"] = config.jreg.final_state;
  json["tokens"] = result.look.tokens;
  json["loss"] = result.look.loss;  // numbers that are not finite become null
  json["perplexity"] = std::exp(result.look.loss);
  if (auto const bits = result.bits_per_byte()) {
    json["bits_per_byte"] = *bits;
    json["bytes"] = result.bytes->count;
    json["bytes_from"] = result.bytes->source;
  }
  json["displacement"] = jump.displacement;
  json["jump_rate"] = jump.jump_rate;
  json["angle"] = jump.angle;
  json["relative_update"] = jump.relative_update;
  json["cosine_std"] = jump.cosine_std;
  json["hidden_norm"] = jump.hidden_norm;
  data::OutputFile file{request.shared.output};
  file.write(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  file.sync();
  file.commit();
}

ExitCode run(mpi::Communicator const& world, std::string folder, std::vector<std::string> const& arguments) {
  // The first rank's choice: a run may save another checkpoint meanwhile.
  world.broadcast(folder, 0);
  std::optional<Subject> opened;
  store::agree(world, [&] { opened.emplace(open_subject(folder, world.size(), arguments)); });
  Subject& subject = *opened;
  warn_of_length(subject.config().train.sequence_length, subject.files.config.train.sequence_length);
  auto const backend = train::start_backend(subject.config().run, world);
  train::Inspection inspection{subject.config(), world, *backend, *subject.stream, *subject.windows};
  log::info("{}: {} parameters, {}, {}, {} sequences at a time; memory of this rank's tensors: {:.1f} MB", folder,
            inspection.parameters(), inspection.mesh().description(), subject.config().run.precision,
            inspection.micro_batch(), static_cast<double>(backend->bytes_in_use()) / 1e6);
  inspection.load(*subject.files.tensors);
  Result result{.mesh = inspection.mesh().description()};
  store::agree_on_first(world, [&] { result.bytes = bytes_of(subject); });
  result.look = inspection.look(subject.sequences, {.statistics = true});
  store::agree_on_first(world, [&] {
    print(subject, result);
    if (!subject.request.shared.output.empty()) write_json(subject, result);
  });
  return ExitCode::done;
}

/// Everything about the request that can be checked without the other ranks. Returns the folder of the model's files.
std::string check(std::vector<std::string> const& arguments) {
  EvalRequest asked;
  config::parse_arguments(arguments, config::options_of(asked), false);
  if (asked.shared.checkpoint.empty()) throw UserError("--checkpoint: name the folder of a model");
  if (!asked.shared.output.empty()) check_output(asked.shared.output, asked.shared.overwrite);
  std::string const folder = store::open_model(asked.shared.checkpoint).tensors->folder().string();
  Subject const subject = open_subject(folder, mpi::launched_ranks(), arguments);
  data::check_tokens(*subject.stream, subject.config().model.vocab);
  if (asked.bytes == 0 && asked.tokenizer != "auto") data::make_tokenizer(asked.tokenizer);
  backend::require_backend(subject.config().run.backend, subject.config().run.collective);
  return folder;
}

}  // namespace

int eval(std::vector<std::string> const& arguments) {
  std::string folder;
  try {
    folder = check(arguments);
  } catch (Error const& error) {
    return refuse(error);
  }
  return run_on_ranks([&](mpi::Communicator const& world) { return run(world, folder, arguments); });
}

std::string eval_help() {
  EvalRequest request;
  return std::string{
             "jreg eval --checkpoint FOLDER [--data PREFIX] [options]\n\n"
             "Loss (nats per token), perplexity, bits per byte and statistics per layer of a model on tokens, on the "
             "ranks\nof this launch (mpirun, srun, or alone).\n"} +
         defaults_text + config::help_text(config::options_of(request));
}

}  // namespace jreg::commands
