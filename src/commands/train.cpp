#include "commands/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "backend/backend.h"
#include "base/error.h"
#include "base/log.h"
#include "config/parse.h"
#include "config/validate.h"
#include "data/dataset.h"
#include "jump/weights.h"
#include "mpi/session.h"
#include "train/benchmark.h"
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

/// Whether tokens fit the vocabulary as far as their beginning tells.
void check_tokens(data::TokenStream const& stream, std::int64_t vocab) {
  constexpr std::int64_t looked_at = std::int64_t{1} << 20;
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(std::min(stream.tokens(), looked_at)));
  stream.read(0, tokens, vocab);
}

/// Whether all token files can be read, fill a sequence and fit the vocabulary.
void check_data(config::Config const& config) {
  if (config.data.train.empty() && config.data.sources.empty()) {
    throw UserError("data.train is empty: give the prefix of a token file (jreg tokenize), or data.sources");
  }
  data::Dataset const dataset{config.data, config.train.sequence_length, config.run.seed};
  for (std::size_t i = 0; i < dataset.sources(); ++i) check_tokens(dataset.stream(i), config.model.vocab);
  if (config.data.validation.empty()) return;
  check_tokens(*data::open_stream(config.data.validation, config.data, config.train.sequence_length),
               config.model.vocab);
}

/// Everything about the request that can be checked without the other ranks.
void check(Request& request) {
  config::Config& config = request.config;
  config::resolve(config);
  config::validate(config, mpi::launched_ranks());
  config::ini_text(config::options_of(config));  // refuses values that config.cfg could not hold
  jump::depth_weights(config.jreg.weights, config.jreg.penalty, config.model.layers);
  train::check_start_options(request.arguments.resume, request.arguments.fork);
  if (request.arguments.benchmark) return;
  if (request.arguments.profile) throw UserError{"--profile goes with --benchmark: give both"};
  check_data(config);
}

int run(Request const& request) {
  int argc = 0;
  char** argv = nullptr;
  train::Watchdog watchdog{request.arguments.benchmark ? 0 : request.config.run.step_deadline, mpi::launched_rank()};
  mpi::Session session{argc, argv};
  log::set_rank(session.rank(), session.size());
  try {
    mpi::Communicator const world = mpi::Communicator::duplicate(MPI_COMM_WORLD);
    if (world.size() != mpi::launched_ranks()) config::validate(request.config, world.size());
    auto const backend = backend::make_backend(request.config.run.backend, world.split_node().rank());
    if (request.arguments.benchmark) {
      train::benchmark(request.config, world, *backend, request.arguments.benchmark_steps, request.arguments.profile);
      return static_cast<int>(ExitCode::done);
    }
    return static_cast<int>(train::Trainer{request.config, request.arguments, world, *backend, watchdog}.run());
  } catch (AgreedError const& error) {
    if (session.rank() == 0) log::error(error);
    return static_cast<int>(error.code());
  } catch (std::exception const& error) {
    log::error(error);
    ExitCode const code = log::exit_code(error);
    // Alone there is nobody to end by force; but after a failed write a normal exit crashes inside HDF5.
    if (session.size() == 1 && code != ExitCode::io) return static_cast<int>(code);
    mpi::Session::abort(static_cast<int>(code));
  }
}

}  // namespace

int train(std::vector<std::string> const& arguments) {
  Request request;
  std::optional<train::SignalWatch> signals;
  try {
    auto const options = config::options_of(request);
    if (std::string const file = config::find_argument(arguments, "config"); !file.empty()) {
      config::parse_file(file, config::options_of(request.config));
    }
    config::parse_arguments(arguments, options, false);
    if (!request.arguments.benchmark) signals.emplace();
    check(request);
    backend::require_backend(request.config.run.backend);
  } catch (Error const& error) {
    // Every rank finds the same before MPI starts; the first one tells. The others give it time for that: launchers end
    // all ranks as soon as one has left.
    if (mpi::launched_rank() == 0) {
      log::error(error);
    } else {
      std::this_thread::sleep_for(std::chrono::seconds{5});
    }
    return static_cast<int>(error.code());
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
