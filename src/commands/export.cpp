#include "commands/export.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "commands/export_tokenizer.h"
#include "commands/interruption.h"
#include "config/parse.h"
#include "store/checkpoint.h"
#include "store/files.h"
#include "store/huggingface_config.h"
#include "store/huggingface_export.h"
#include "store/model_card.h"
#include "store/model_files.h"
#include "store/output_folder.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

ExportOptions parse_options(std::vector<std::string> const& arguments) {
  ExportOptions options;
  config::parse_arguments(arguments, config::options_of(options), false);
  if (options.checkpoint.empty()) throw UserError("--checkpoint: name a checkpoint folder or a run folder");
  if (options.output.empty()) throw UserError("--output: name the folder to make");
  return options;
}

/// Whether a folder is what this command writes: no other model's, and nothing that somebody trains in.
bool is_export(fs::path const& folder) {
  constexpr std::int64_t largest_card = std::int64_t{1} << 20;  // edits of it included
  std::error_code error;
  fs::path const card = folder / "README.md";
  if (!fs::is_regular_file(card, error) || !fs::exists(folder / "config.json", error)) return false;
  if (fs::file_size(card, error) > static_cast<std::uintmax_t>(largest_card)) return false;
  return store::read_text(card, largest_card).find(store::model_card_mark) != std::string::npos;
}

std::optional<DType> asked_type(std::string const& name) {
  if (name == "auto") return std::nullopt;
  return name == "bf16" ? DType::bf16 : DType::f32;
}

/// Sizes that transformers' config class refuses although its model could compute with them.
void warn_of_sizes(config::ModelConfig const& model) {
  if (model.hidden % model.heads != 0) {
    log::warning("hidden_size = {} is no multiple of num_attention_heads = {}: transformers 5 refuses such a config",
                 model.hidden, model.heads);
  }
}

std::optional<ExportedTokenizer> tokenizer_of(ExportOptions const& options, config::Config const& config) {
  if (options.tokenizer.empty()) return std::nullopt;
  ExportedTokenizer tokenizer = read_tokenizer(options.tokenizer, config.train.sequence_length);
  if (tokenizer.vocab > config.model.vocab) {
    throw UserError("--tokenizer {}: has ids up to {}, the model's vocabulary has only {}", options.tokenizer,
                    tokenizer.vocab - 1, config.model.vocab);
  }
  return tokenizer;
}

std::optional<store::Trajectory> trajectory_of(store::TensorSource& source) {
  auto* const checkpoint = dynamic_cast<store::CheckpointReader*>(&source);
  if (checkpoint == nullptr) return std::nullopt;
  return checkpoint->trajectory();
}

void write_texts(fs::path const& folder, store::ModelFiles const& model, store::WrittenWeights const& weights,
                 std::optional<ExportedTokenizer> const& tokenizer, std::string const& name) {
  store::HuggingFaceExtras extras{.context = model.config.train.sequence_length,
                                  .dtype = weights.dtype == DType::bf16 ? "bfloat16" : "float32"};
  if (model.config.data.eos >= 0) extras.eos = model.config.data.eos;
  if (tokenizer) {
    extras.bos = tokenizer->bos;
    if (tokenizer->eos) extras.eos = tokenizer->eos;
    for (auto const& [file, content] : tokenizer->files) store::replace_file(folder / file, content);
  }
  store::replace_file(folder / "config.json", store::huggingface_config(model.config.model, extras));
  store::replace_file(folder / "generation_config.json", store::generation_config(extras));
  std::optional<store::Trajectory> const trajectory = trajectory_of(*model.tensors);
  store::replace_file(
      folder / "README.md",
      store::model_card({.name = name,
                         .config = model.config,
                         .parameters = weights.parameters,
                         .step = model.step,
                         .tokens = model.tokens,
                         .dtype = extras.dtype,
                         .tokenizer = tokenizer ? tokenizer->sentence
                                                : "None: ids are those of the token files that it was trained on.",
                         .trajectory = trajectory ? &*trajectory : nullptr}));
}

void run(ExportOptions const& options) {
  Interruption const interruption;
  store::ModelFiles const model = store::open_model(options.checkpoint);
  warn_of_sizes(model.config.model);
  std::optional<ExportedTokenizer> const tokenizer = tokenizer_of(options, model.config);
  store::OutputFolder output{"--output", options.output, options.overwrite, is_export};
  auto const shard_bytes = static_cast<std::int64_t>(options.shard_gb * 1e9);
  store::WrittenWeights const weights =
      store::write_huggingface_weights(*model.tensors, model.config.model, asked_type(options.dtype), shard_bytes,
                                       output.temporary(), Interruption::check);
  write_texts(output.temporary(), model, weights, tokenizer, output.path().filename().string());
  output.commit(output.temporary());
  if (!tokenizer)
    log::info("export: without --tokenizer the folder has the model alone; its ids are those of the data");
  fmt::print("folder={} source={} step={} parameters={} tensors={} dtype={} files={} bytes={} tokenizer={}\n",
             output.path().string(), model.tensors->folder().string(), model.step, weights.parameters, weights.tensors,
             name_of(weights.dtype), weights.files, weights.bytes, tokenizer ? options.tokenizer : "none");
}

}  // namespace

int export_model(std::vector<std::string> const& arguments) {
  ExportOptions const options = parse_options(arguments);
  run_interruptibly([&] { run(options); });
  return static_cast<int>(ExitCode::done);
}

std::string export_help() {
  ExportOptions options;
  return "jreg export --checkpoint FOLDER --output FOLDER [options]\n"
         "Writes a checkpoint as a folder that transformers, lm-eval and others load: config.json, safetensors,\n"
         "generation_config.json and a README.md with the jump statistics of the run's last probe.\n\n" +
         config::help_text(config::options_of(options));
}

}  // namespace jreg::commands
