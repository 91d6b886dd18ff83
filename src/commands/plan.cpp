#include "commands/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "commands/ranks.h"
#include "config/parse.h"
#include "config/validate.h"
#include "jump/weights.h"
#include "plan/calibrate.h"
#include "plan/report.h"
#include "store/files.h"

namespace jreg::commands {
namespace {

struct Request {
  config::Config config;
  PlanArguments arguments;

  template <class Visit> void each(Visit&& visit) {
    arguments.each(visit);
    visit("precision", config.run.precision, config::Rule::one_of({"auto", "fp32", "bf16"}),
          "short for --run.precision");
    config.each(visit);
  }
};

int ranks_of(PlanArguments const& arguments, plan::Machine const& machine) {
  constexpr std::int64_t most = 65536;
  std::int64_t const ranks = arguments.ranks > 0 ? arguments.ranks : arguments.nodes * machine.ranks_per_node;
  if (ranks > most) {
    throw UserError("nodes = {} with {} ranks each: more than the {} ranks that can be planned for", arguments.nodes,
                    machine.ranks_per_node, most);
  }
  return static_cast<int>(ranks);
}

/// The config as it stands, or nothing and the reason where that cannot run.
std::optional<plan::Plan> own_plan(config::Config const& config, int world, plan::Machine const& machine,
                                   std::string& reason) {
  try {
    plan::Plan plan = plan::make_plan(config, world, machine);
    if (plan.misfit.empty()) return plan;
    reason = plan.misfit;
  } catch (UserError const& error) {
    reason = error.what();
  }
  return std::nullopt;
}

/// What search() finds and the config's own plan, where it fits, in their order. Throws UserError where there is none.
std::vector<plan::Plan> fitting_plans(config::Config const& config, int world, plan::Machine const& machine,
                                      std::optional<plan::Plan> const& own) {
  std::vector<plan::Plan> plans;
  try {
    plans = plan::search(config, world, machine);
  } catch (UserError const&) {
    if (!own) throw;
  }
  if (!plans.empty() && !plans.front().misfit.empty()) {
    if (!own) {
      throw UserError("nothing fits on {} rank(s) of {}: at best, with {}, {}", world, machine.name,
                      plans.front().mesh_text(), plans.front().misfit);
    }
    plans.clear();
  }
  auto const is_own = [&](plan::Plan const& plan) { return plan.mesh_text() == own->mesh_text(); };
  if (own && std::ranges::none_of(plans, is_own)) {
    auto const place = std::ranges::find_if(
        plans, [&](plan::Plan const& plan) { return plan.tokens_per_second() < own->tokens_per_second(); });
    plans.insert(place, *own);
  }
  return plans;
}

void print_plan(Request const& request, plan::Machine const& machine) {
  config::Config const& config = request.config;
  int const world = ranks_of(request.arguments, machine);
  std::string reason;
  std::optional<plan::Plan> const own = own_plan(config, world, machine, reason);
  std::vector<plan::Plan> const plans = fitting_plans(config, world, machine, own);
  plan::Plan const& chosen = own ? *own : plans.front();
  fmt::print("{} rank(s) of {}, {}; {} tokens an update\n", world, machine.name, config.run.precision, chosen.tokens());
  if (!own) fmt::print("the config's own mesh cannot run: {}\nplanned instead: the best that can\n", reason);
  fmt::print("{}\n\n{}\n", chosen.mesh_text(), plan::report(chosen, machine));
  auto const rows = std::min(plans.size(), static_cast<std::size_t>(request.arguments.rows));
  fmt::print("{}\n", plan::table(std::span{plans}.first(rows), machine, chosen.mesh_text()));
  fmt::print("{}\n", plan::last_line(chosen));
}

int calibrate(Request const& request) {
  return run_on_ranks([&](mpi::Communicator const& world) {
    plan::Machine const machine = plan::calibrate(request.config, world);
    if (world.rank() == 0) {
      store::replace_file(request.arguments.calibrate, plan::machine_text(machine));
      fmt::print("{}: {}\n", request.arguments.calibrate, machine.name);
    }
    return ExitCode::done;
  });
}

int checked_plan(std::vector<std::string> const& arguments) {
  Request request;
  if (std::string const file = config::find_argument(arguments, "config"); !file.empty()) {
    config::parse_file(file, config::options_of(request.config));
  }
  config::parse_arguments(arguments, config::options_of(request), false);
  config::Config& config = request.config;
  plan::Machine const machine =
      request.arguments.machine.empty() ? plan::Machine{} : plan::read_machine(request.arguments.machine);
  bool const measures = !request.arguments.calibrate.empty();
  config.run.backend = measures ? "cpu" : machine.backend;
  config::resolve(config);
  config::validate_model(config.model);
  jump::depth_weights(config.jreg.weights, config.jreg.penalty, config.model.layers);
  if (measures) {
    config.mesh = {};
    config::validate(config, 1);
    return calibrate(request);
  }
  if (request.arguments.scaling) {
    fmt::print("{}", plan::scaling_table(config, machine));
  } else {
    print_plan(request, machine);
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace

int plan(std::vector<std::string> const& arguments) {
  try {
    return checked_plan(arguments);
  } catch (Error const& error) {
    return refuse(error);  // every rank of a calibration finds the same
  }
}

std::string plan_help() {
  Request request;
  plan::Machine machine;
  return fmt::format(
      "jreg plan --config FILE [--machine FILE] [--nodes N] [--section.key value ...]\n\n"
      "Plans a run without it: memory per rank and bytes on the wire term by term, as the program's own code would "
      "take\n"
      "and send them, the time of an update, and the meshes that fit, the fastest first. The machine's backend "
      "decides\n"
      "over run.backend. Opens no data and needs no launcher. The last line is\n"
      "    plan: MESH; GB per rank; tokens/s\n"
      "of the config as it stands, or of the fastest mesh where that does not fit. Exit code 2 where nothing fits.\n"
      "Defaults stand in brackets.\n\n{}\n"
      "Keys of a machine file; the defaults are those of an H100 node.\n\n{}",
      config::help_text(config::options_of(request)), config::help_text(config::options_of(machine)));
}

}  // namespace jreg::commands
