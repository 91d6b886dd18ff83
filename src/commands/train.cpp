#include "commands/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "backend/backend.h"
#include "base/error.h"
#include "commands/ranks.h"
#include "config/parse.h"
#include "config/validate.h"
#include "data/dataset.h"
#include "data/open_tokens.h"
#include "jump/weights.h"
#include "mpi/session.h"
#include "train/benchmark.h"
#include "train/preflight.h"
#include "train/profiled_steps.h"
#include "train/signals.h"
#include "train/start.h"
#include "train/trainer.h"
#include "train/watchdog.h"

namespace jreg::commands {
namespace {

struct Request {
  config::Config config;
  train::TrainArguments arguments;

  template <class Visit> void each(Visit&& visit) {
    arguments.each(visit);
    visit("backend", config.run.backend, config::Rule::one_of({"cpu", "cuda"}), "short for --run.backend");
    visit("precision", config.run.precision, config::Rule::one_of({"auto", "fp32", "bf16"}),
          "short for --run.precision");
    config.each(visit);
  }
};

/// Whether all token files can be read, fill a sequence and fit the vocabulary.
void check_data(config::Config const& config) {
  if (config.data.train.empty() && config.data.sources.empty()) {
    throw UserError("data.train is empty: give the prefix of a token file (jreg tokenize), or data.sources");
  }
  data::Dataset const dataset{config.data, config.train.sequence_length, config.run.seed};
  for (std::size_t i = 0; i < dataset.sources(); ++i) data::check_tokens(dataset.stream(i), config.model.vocab);
  if (config.data.validation.empty()) return;
  data::check_tokens(*data::open_stream(config.data.validation, config.data, config.train.sequence_length),
                     config.model.vocab);
}

/// Everything about the request that can be checked without the other ranks.
void check(Request& request) {
  config::Config& config = request.config;
  config::resolve(config);
  config::validate(config, mpi::launched_ranks());
  config::ini_text(config::options_of(config));  // refuses values that config.cfg could not hold
  jump::depth_weights(config.jreg.weights, config.jreg.penalty, config.model.layers);
  train::check_start_options(request.arguments.resume, request.arguments.fork, request.arguments.init);
  if (!request.arguments.benchmark) check_data(config);
  backend::require_backend(config.run.backend);
  if (train::profiled_steps(request.arguments.profile_steps) && config.run.backend != "cuda") {
    throw UserError(
        "--profile-steps {}: only run.backend = cuda has a profiler to tell; on the CPU use --benchmark --profile",
        request.arguments.profile_steps);
  }
}

/// Sets the options from the config file that the arguments name, then from the arguments.
void parse(Request& request, std::vector<std::string> const& arguments) {
  auto const options = config::options_of(request);
  if (std::string const file = config::find_argument(arguments, "config"); !file.empty()) {
    config::parse_file(file, config::options_of(request.config));
  }
  config::parse_arguments(arguments, options, false);
  if (request.arguments.preflight && request.arguments.benchmark) {
    throw UserError("--preflight and --benchmark: give one of them");
  }
  if (request.arguments.profile && !request.arguments.benchmark) {
    throw UserError("--profile goes with --benchmark: give both");
  }
}

/// What an Error of `action` says; empty where it throws none.
template <class Action> std::string refusal_of(Action&& action) {
  try {
    action();
  } catch (Error const& error) {
    return error.what();
  }
  return {};
}

/// jreg train --preflight. What this rank alone finds wrong travels to the first one, which tells it with the rest.
int preflight(std::vector<std::string> const& arguments) {
  Request request;
  train::preflight::Request asked;
  asked.error = refusal_of([&] {
    parse(request, arguments);
    check(request);
  });
  for (config::Option const& option : config::options_of(request)) {
    if (option.name != "config") asked.options += fmt::format("{} = {}\n", option.name, option.get());
  }
  asked.claims = train::preflight::claimed_ranks([](char const* name) { return std::getenv(name); });
  asked.arguments = request.arguments;
  train::Watchdog watchdog{train::preflight::deadline_of(request.config), mpi::launched_rank()};
  return run_on_ranks([&](mpi::Communicator const& world) {
    if (asked.error.empty() && world.size() != mpi::launched_ranks()) {
      asked.error = refusal_of([&] { config::validate(request.config, world.size()); });
    }
    asked.config = request.config;
    return train::preflight::run(asked, world, watchdog);
  });
}

int run(Request const& request) {
  train::Watchdog watchdog{request.arguments.benchmark ? 0 : request.config.run.step_deadline, mpi::launched_rank()};
  return run_on_ranks([&](mpi::Communicator const& world) {
    if (world.size() != mpi::launched_ranks()) config::validate(request.config, world.size());
    auto const backend = backend::make_backend(request.config.run.backend, world.split_node().rank());
    if (request.arguments.benchmark) {
      train::benchmark(request.config, world, *backend, request.arguments.benchmark_steps, request.arguments.profile);
      return ExitCode::done;
    }
    return train::Trainer{request.config, request.arguments, world, *backend, watchdog}.run();
  });
}

}  // namespace

int train(std::vector<std::string> const& arguments) {
  if (std::ranges::find(arguments, "--preflight") != arguments.end()) return preflight(arguments);
  Request request;
  std::optional<train::SignalWatch> signals;
  try {
    parse(request, arguments);
    if (!request.arguments.benchmark) signals.emplace();
    check(request);
  } catch (Error const& error) {
    return refuse(error);
  }
  return run(request);
}

std::string train_help() {
  Request request;
  return fmt::format(
      "jreg train --config FILE [--section.key value ...]\n\n"
      "Pretrains a Llama model with JREG on the ranks of this launch (mpirun, srun, or alone). A later option\n"
      "overrides an earlier one and the config file. Defaults stand in brackets.\n\n{}",
      config::help_text(config::options_of(request)));
}

}  // namespace jreg::commands
