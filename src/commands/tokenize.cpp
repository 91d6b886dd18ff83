#include "commands/tokenize.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/version.h"
#include "commands/interruption.h"
#include "config/parse.h"
#include "data/encode.h"
#include "data/entropy.h"
#include "data/output_file.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/token_writer.h"
#include "data/tokenizer.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A line on the terminal that renews itself, or a plain line every 10 seconds elsewhere.
class Progress {
public:
  explicit Progress(std::vector<fs::path> const& files) {
    for (fs::path const& file : files) {
      std::error_code error;
      if (auto const size = fs::file_size(file, error); !error) total_ += static_cast<double>(size);
    }
  }
  Progress(Progress const&) = delete;
  Progress& operator=(Progress const&) = delete;
  ~Progress() { clear(); }

  void add(std::int64_t bytes, std::int64_t tokens) {
    bytes_ += static_cast<double>(bytes);
    tokens_ += tokens;
    if (seconds_since(shown_) < (terminal_ ? 0.2 : 10.0)) return;
    shown_ = Clock::now();
    double const rate = bytes_ / std::max(seconds_since(start_), 1e-9);
    std::string line = fmt::format("tokenize: {:.1f} MB, {} tokens, {:.1f} MB/s", bytes_ / 1e6, tokens_, rate / 1e6);
    if (total_ > bytes_) {
      line += fmt::format(", {:.0f}%, {:.0f} s left", 100 * bytes_ / total_, (total_ - bytes_) / rate);
    }
    if (terminal_) {
      clear();
      fmt::print(stderr, "{}", line);
      std::fflush(stderr);
      live_ = true;
    } else {
      log::info("{}", line);
    }
  }
  void clear() {
    if (live_) fmt::print(stderr, "\r\033[K");
    live_ = false;
  }
  double seconds() const { return seconds_since(start_); }
  double bytes() const { return bytes_; }

private:
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
  double total_ = 0;  // bytes of all files; 0 where unknown
  double bytes_ = 0;
  std::int64_t tokens_ = 0;
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool live_ = false;
};

/// One pair of token files and what is counted of it.
class Shard {
public:
  Shard(std::string prefix, std::int64_t vocab)
      : prefix_{std::move(prefix)}, writer_{prefix_, vocab}, counts_(static_cast<std::size_t>(vocab)) {}

  void add(data::EncodedPart const& part) {
    writer_.add(part.tokens);
    for (std::int32_t const id : part.tokens) ++counts_[static_cast<std::size_t>(id)];
    text_bytes_ += part.text_bytes;
    if (part.ends_document) writer_.end_document();
  }
  std::string const& prefix() const { return prefix_; }
  data::TokenWriter& writer() { return writer_; }
  double bytes_per_token() const { return static_cast<double>(text_bytes_) / static_cast<double>(writer_.tokens()); }
  double entropy() const { return data::unigram_entropy(counts_); }
  std::int64_t text_bytes() const { return text_bytes_; }

private:
  std::string prefix_;
  data::TokenWriter writer_;
  std::vector<std::int64_t> counts_;  // of each id
  std::int64_t text_bytes_ = 0;
};

std::vector<std::string> split(std::string const& list) {
  std::vector<std::string> items;
  for (std::size_t begin = 0; begin < list.size();) {
    std::size_t const end = std::min(list.find(',', begin), list.size());
    if (end > begin) items.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

/// Options, inputs and the names of all outputs, checked.
struct Plan {
  TokenizeOptions options;
  std::vector<std::string> inputs;
  data::EncodeJob job;
  std::vector<std::string> prefixes;  // training first, then validation
};

void check_outputs(Plan& plan) {
  std::string const& output = plan.options.output;
  std::vector<std::string> names{output + ".json"};
  if (plan.options.train_vocab > 0) names.push_back(output + ".model");
  for (std::string const& prefix : plan.prefixes) names.insert(names.end(), {prefix + ".bin", prefix + ".idx"});
  for (std::string const& name : names) {
    std::error_code ignored;
    if (!plan.options.overwrite && fs::exists(name, ignored)) {
      throw UserError("--output {}: {} is there already; choose another prefix or add --overwrite", output, name);
    }
    // The output may lie in a folder that is read: what an earlier run wrote there is no text.
    auto const place = fs::weakly_canonical(name, ignored);
    std::erase_if(plan.job.files, [&](fs::path const& file) { return fs::weakly_canonical(file, ignored) == place; });
  }
  if (plan.job.files.empty()) throw UserError("--input: nothing to read but the output itself");
}

Plan make_plan(std::vector<std::string> const& arguments) {
  Plan plan;
  TokenizeOptions& options = plan.options;
  auto words = config::parse_arguments(arguments, config::options_of(options), true);
  plan.inputs = split(options.input);
  plan.inputs.insert(plan.inputs.end(), words.begin(), words.end());
  if (plan.inputs.empty()) throw UserError("--input: name at least one file or folder of text");
  if (options.output.empty()) throw UserError("--output: name the prefix of the token files to write");
  if (options.output.ends_with('/')) throw UserError("--output {}: needs a name behind the folder", options.output);
  if (options.train_vocab > 0 && options.tokenizer != "byte") {
    throw UserError("--train-vocab {} and --tokenizer {}: choose one of them", options.train_vocab, options.tokenizer);
  }
  if (!options.jsonl_field.empty() && options.document_bytes > 0) {
    throw UserError("--document-bytes {}: with --jsonl-field each line is a document", options.document_bytes);
  }
  plan.job.layout = {options.jsonl_field, options.document_bytes};
  auto const cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  plan.job.threads = options.threads > 0 ? static_cast<int>(options.threads) : cores;
  plan.job.files = data::list_files(plan.inputs);
  plan.prefixes = {options.output};
  if (options.validation > 0) plan.prefixes = {options.output + "_train", options.output + "_validation"};
  check_outputs(plan);
  return plan;
}

struct ChosenTokenizer {
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::string trained;  // content of the .model to write; "" when none was trained
};

ChosenTokenizer choose_tokenizer(Plan const& plan) {
  TokenizeOptions const& options = plan.options;
  if (options.train_vocab == 0) return {data::make_tokenizer(options.tokenizer), {}};
  auto const start = Clock::now();
  auto const lines = data::sample_lines(plan.job, options.train_mb << 20, options.seed);
  if (lines.empty()) throw UserError("{}: no text to train a tokenizer on", fmt::join(plan.inputs, ", "));
  std::int64_t bytes = 0;
  for (std::string const& line : lines) bytes += std::ssize(line);
  log::info("tokenize: training {} pieces on {:.1f} MB in {} lines", options.train_vocab,
            static_cast<double>(bytes) / 1e6, lines.size());
  ChosenTokenizer chosen;
  chosen.trained = data::train_sentencepiece(lines, options.train_vocab);
  chosen.tokenizer = std::make_unique<data::SentencePieceTokenizer>(chosen.trained, options.output + ".model");
  log::info("tokenize: trained in {:.1f} s", seconds_since(start));
  return chosen;
}

using Shards = std::vector<std::unique_ptr<Shard>>;

/// Encodes everything into the shards; nothing has its final name yet.
void encode(Plan const& plan, data::Tokenizer const& tokenizer, Shards& shards) {
  Interruption const interruption;
  Progress progress{plan.job.files};
  RandomStream const split_stream{static_cast<std::uint64_t>(plan.options.seed), "tokenize: validation documents"};
  std::uint64_t document = 0;
  Shard* shard = nullptr;
  data::encode_corpus(plan.job, tokenizer, [&](data::EncodedPart const& part) {
    Interruption::check();
    if (part.begins_document) {
      bool const validation = plan.options.validation > 0 && split_stream.uniform(document) < plan.options.validation;
      shard = shards[validation ? 1 : 0].get();
      ++document;
    }
    shard->add(part);
    progress.add(part.source_bytes, std::ssize(part.tokens));
  });
  progress.clear();
  if (document == 0) throw DataError("{}: holds no text", fmt::join(plan.inputs, ", "));
  for (auto const& each : shards) {
    if (each->writer().documents() == 0) {
      throw UserError(
          "--validation {}: none of the {} documents falls into {}; choose another share or --seed, or cut "
          "long files with --document-bytes",
          plan.options.validation, document, each->prefix());
    }
  }
  log::info("tokenize: {:.1f} MB in {:.1f} s, {:.1f} MB/s on {} threads", progress.bytes() / 1e6, progress.seconds(),
            progress.bytes() / 1e6 / std::max(progress.seconds(), 1e-9), plan.job.threads);
}

/// PREFIX.json: for people, and for the bytes per token of jreg eval.
std::string description(Plan const& plan, data::Tokenizer const& tokenizer, Shards const& shards) {
  nlohmann::ordered_json json;
  json["program"] = fmt::format("jreg {} ({})", version(), commit());
  json["tokenizer"] = tokenizer.name();
  json["vocab"] = tokenizer.vocab();
  json["eos"] = tokenizer.eos();
  json["seed"] = plan.options.seed;
  for (auto const& shard : shards) {
    json["files"].push_back({{"prefix", shard->prefix()},
                             {"documents", shard->writer().documents()},
                             {"tokens", shard->writer().tokens()},
                             {"text_bytes", shard->text_bytes()},
                             {"bytes_per_token", shard->bytes_per_token()},
                             {"unigram_entropy_nats_per_token", shard->entropy()}});
  }
  json["sources"] = plan.inputs;
  json["source_files"] = plan.job.files.size();
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// All or nothing, as far as a file system can: what may fail for want of space comes before the first rename.
void commit_all(Plan const& plan, ChosenTokenizer const& chosen, Shards const& shards) {
  std::string const& output = plan.options.output;
  data::OutputFile sidecar{output + ".json"};
  sidecar.write(description(plan, *chosen.tokenizer, shards));
  sidecar.sync();
  std::unique_ptr<data::OutputFile> model;
  if (!chosen.trained.empty()) {
    model = std::make_unique<data::OutputFile>(output + ".model");
    model->write(chosen.trained);
    model->sync();
  }
  for (auto const& shard : shards) shard->writer().finish();
  if (model) model->commit();
  for (auto const& shard : shards) shard->writer().commit();
  sidecar.commit();
}

void run(Plan const& plan) {
  data::make_parent_folder(plan.options.output);
  ChosenTokenizer const chosen = choose_tokenizer(plan);
  data::Tokenizer const& tokenizer = *chosen.tokenizer;
  Shards shards;
  for (std::string const& prefix : plan.prefixes) shards.push_back(std::make_unique<Shard>(prefix, tokenizer.vocab()));
  encode(plan, tokenizer, shards);
  commit_all(plan, chosen, shards);
  for (auto const& shard : shards) {
    fmt::print(
        "tokens={} documents={} bytes_per_token={:.3f} unigram_entropy_nats={:.4f} vocab={} "
        "tokenizer={} file={}\n",
        shard->writer().tokens(), shard->writer().documents(), shard->bytes_per_token(), shard->entropy(),
        tokenizer.vocab(), tokenizer.name(), shard->prefix());
  }
}

}  // namespace

int tokenize(std::vector<std::string> const& arguments) {
  Plan const plan = make_plan(arguments);
  run_interruptibly([&] { run(plan); });
  return static_cast<int>(ExitCode::done);
}

std::string tokenize_help() {
  TokenizeOptions options;
  return "jreg tokenize --input TEXT --output PREFIX [options]\n"
         "Turns text into token files (.bin and .idx in Megatron's format) for training. Every document ends with the\n"
         "tokenizer's end-of-sentence token. A name with a comma in it can be given without --input.\n\n" +
         config::help_text(config::options_of(options));
}

}  // namespace jreg::commands
