// Arguments -> one command. Here an exception becomes text and an exit code.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "commands/analyze.h"
#include "commands/eval.h"
#include "commands/export.h"
#include "commands/import.h"
#include "commands/info.h"
#include "commands/plan.h"
#include "commands/tokenize.h"
#include "commands/train.h"
#include "config/option.h"

namespace {

struct Command {
  char const* name;
  char const* summary;
  int (*run)(std::vector<std::string> const&);
  std::string (*help)();
};

constexpr std::array commands{
    Command{"tokenize", "text or JSON lines -> token files", jreg::commands::tokenize, jreg::commands::tokenize_help},
    Command{"train", "pretrain a model, alone or under mpirun", jreg::commands::train, jreg::commands::train_help},
    Command{"plan", "memory, traffic and speed of a run, without running it", jreg::commands::plan,
            jreg::commands::plan_help},
    Command{"eval", "loss, perplexity and statistics per layer of a model", jreg::commands::eval,
            jreg::commands::eval_help},
    Command{"analyze", "hidden state jumps of models -> HDF5", jreg::commands::analyze, jreg::commands::analyze_help},
    Command{"export", "checkpoint -> folder for transformers", jreg::commands::export_model,
            jreg::commands::export_help},
    Command{"import", "Llama of Hugging Face's -> checkpoint", jreg::commands::import_model,
            jreg::commands::import_help},
    Command{"info", "what a file or folder of jreg's is", jreg::commands::info, jreg::commands::info_help},
    Command{"verify", "check sizes and hashes of a checkpoint", jreg::commands::verify, jreg::commands::verify_help},
};

std::string overview() {
  std::string text = "jreg: pretrains Llama models with the jump-suppressing regularizer JREG (arXiv 2601.18302)\n\n";
  for (Command const& command : commands) text += fmt::format("  jreg {:<10} {}\n", command.name, command.summary);
  return text + "\njreg COMMAND --help tells the options of a command; jreg --version the version.\n";
}

int run(std::vector<std::string> const& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "help") {
    fmt::print("{}", overview());
    return words.empty() ? static_cast<int>(jreg::ExitCode::usage) : 0;
  }
  if (words[0] == "--version") {
    fmt::print("jreg {} ({})\n", jreg::version(), jreg::commit());
    return 0;
  }
  for (Command const& command : commands) {
    if (words[0] != command.name) continue;
    std::vector<std::string> const arguments{words.begin() + 1, words.end()};
    for (std::string const& argument : arguments) {
      if (argument != "--help") continue;
      fmt::print("{}", command.help());
      return 0;
    }
    return command.run(arguments);
  }
  std::vector<jreg::config::Option> names;
  for (Command const& command : commands) names.push_back({.name = command.name});
  std::string const nearest = jreg::config::nearest_name(words[0], names);
  throw jreg::UserError("{}: no such command; {}", words[0],
                        nearest.empty() ? "jreg --help lists them" : fmt::format("did you mean {}?", nearest));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (std::exception const& error) {
    jreg::log::error(error);
    return static_cast<int>(jreg::log::exit_code(error));
  }
}
