#include "plan/search.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "config/validate.h"

namespace jreg::plan {
namespace {

/// What makes the term smaller on each rank. `largest_tensor`: ranks of this run on a node.
std::string advice(std::string const& term, Plan const& plan, std::int64_t largest_tensor) {
  config::Config const& c = plan.config;
  if (term == "copy for checkpoints") return "use more ranks";  // of which each copies its share
  bool const state = term == "moments" || term == "master weights";
  if (state && !c.mesh.zero1 && plan.at.data_size > 1) return "set mesh.zero1 = true";
  if (state && c.mesh.zero1) return "use more ranks";
  if (term == "activations of blocks" && c.train.recompute != "block") return "set train.recompute = block";
  bool const weights = state || term == "weights" || term == "gradients";
  if (!weights && plan.micro_batch() > 1) return "lower train.micro_batch";
  if (!weights && plan.at.tensor_size > 1 && !c.mesh.sequence_parallel) return "set mesh.sequence_parallel = true";
  return plan.at.tensor_size < largest_tensor ? "raise mesh.tensor" : "use more ranks";
}

/// Sets room and misfit.
void check_memory(Plan& plan, Machine const& machine, std::int64_t on_node) {
  bool const on_host = machine.backend == "cpu";  // where tensors and the copy share one memory
  std::vector<train::MemoryTerm> terms = plan.memory;
  if (on_host) terms.push_back({"copy for checkpoints", plan.host_bytes});
  double needed = 1e9 * machine.reserve_gb;
  for (train::MemoryTerm const& term : terms) needed += static_cast<double>(term.bytes);
  plan.room = 1e9 * machine.memory_gb - needed;
  if (plan.room < 0) {
    auto const largest = std::ranges::max_element(terms, {}, &train::MemoryTerm::bytes);
    plan.misfit =
        fmt::format("a rank needs {:.1f} GB of {:.1f} GB ({:.1f} GB reserved); the largest term is {}, {:.1f} GB: {}",
                    needed / 1e9, machine.memory_gb, machine.reserve_gb, largest->name,
                    static_cast<double>(largest->bytes) / 1e9, advice(largest->name, plan, on_node));
    return;
  }
  double const host = static_cast<double>(plan.host_bytes * on_node) / 1e9;
  if (on_host || host <= machine.host_memory_gb) return;
  plan.room = 1e9 * (machine.host_memory_gb - host) / static_cast<double>(on_node);
  plan.misfit = fmt::format("the copies for checkpoints need {:.1f} GB of a node's host memory of {:.1f} GB: {}", host,
                            machine.host_memory_gb, advice("copy for checkpoints", plan, on_node));
}

void check_links(int world, Machine const& machine) {
  if (world > 1 && machine.node_gb == 0 && machine.ranks_per_node > 1) {
    throw UserError("{}: links.node_gb = 0: nothing is known of links between ranks of a node; calibrate under mpirun",
                    machine.name);
  }
  if (world > machine.ranks_per_node && machine.network_gb == 0) {
    throw UserError("{}: links.network_gb = 0: nothing is known of a network between nodes; use one node of {} rank(s)",
                    machine.name, machine.ranks_per_node);
  }
}

std::vector<config::Config> variants(config::Config const& config, int world, Machine const& machine,
                                     std::string& refusal) {
  std::vector<config::Config> all;
  for (std::int64_t tensor = 1; tensor <= std::min<std::int64_t>(world, machine.ranks_per_node); tensor *= 2) {
    for (bool const sequence_parallel : {false, true}) {
      if (sequence_parallel && tensor == 1) continue;
      config::Config variant = config;
      variant.mesh.tensor = tensor;
      variant.mesh.sequence_parallel = sequence_parallel;
      variant.train.micro_batch = 0;
      try {
        config::validate(variant, world);
      } catch (UserError const& error) {
        if (refusal.empty()) refusal = error.what();
        continue;
      }
      for (bool const zero1 : {false, true}) {
        if (zero1 && world == tensor) continue;
        variant.mesh.zero1 = zero1;
        for (char const* const recompute : {"none", "attention", "mlp", "block"}) {
          variant.train.recompute = recompute;
          all.push_back(variant);
        }
      }
    }
  }
  return all;
}

}  // namespace

double Plan::share_of_peak(Machine const& machine) const {
  DType const dtype = config.run.precision == "bf16" ? DType::bf16 : DType::f32;
  double const ranks = static_cast<double>(at.data_size) * at.tensor_size;
  return train::model_flop(config) / update.seconds / (ranks * machine.peak_flops(dtype));
}

std::string Plan::mesh_text() const {
  return fmt::format("data {} x tensor {}{}{}, micro batch {}, recompute {}", at.data_size, at.tensor_size,
                     config.mesh.sequence_parallel && at.tensor_size > 1 ? ", sequence parallel" : "",
                     config.mesh.zero1 && at.data_size > 1 ? ", zero1" : "", micro_batch(), config.train.recompute);
}

Timeline timeline_of(train::Rehearsal& rehearsal, Machine const& machine, train::Measure measure) {
  // Micro-batches are alike but for the last, so that two tell of all.
  Timeline const one = play(rehearsal.update(measure, 1), machine, rehearsal.mesh());
  if (rehearsal.micro_batches() == 1) return one;
  Timeline const two = play(rehearsal.update(measure, 2), machine, rehearsal.mesh());
  return extrapolate(one, two, rehearsal.micro_batches());
}

train::Rehearsal rehearse(config::Config const& config, int world, Machine const& machine) {
  return {config, world, 0, static_cast<std::size_t>(machine.logits_mb * (1 << 20))};
}

Plan make_plan(config::Config const& config, int world, Machine const& machine) {
  config::validate(config, world);
  check_links(world, machine);
  train::Rehearsal rehearsal = rehearse(config, world, machine);
  Plan plan{.config = config,
            .at = rehearsal.mesh().at(),
            .memory = rehearsal.memory(),
            .memory_bytes = rehearsal.memory_bytes(),
            .host_bytes = rehearsal.host_bytes(),
            .misfit = {},
            .update = {}};
  check_memory(plan, machine, std::min<std::int64_t>(world, machine.ranks_per_node));
  if (plan.misfit.empty()) plan.update = timeline_of(rehearsal, machine, train::measure_of(config));
  return plan;
}

std::vector<Plan> search(config::Config const& config, int world, Machine const& machine) {
  std::string refusal;
  std::vector<Plan> fitting;
  std::optional<Plan> nearest;
  for (config::Config variant : variants(config, world, machine, refusal)) {
    std::int64_t const per_rank = variant.train.global_batch / (world / variant.mesh.tensor);
    for (std::int64_t micro = 1; micro <= per_rank; micro *= 2) {
      if (per_rank % micro != 0) break;
      variant.train.micro_batch = micro;
      Plan plan = make_plan(variant, world, machine);
      bool const fits = plan.misfit.empty();
      if (fits) fitting.push_back(std::move(plan));
      if (!fits && (!nearest || plan.room > nearest->room)) nearest = std::move(plan);
      if (!fits) break;  // nor do larger ones
    }
  }
  if (fitting.empty() && nearest) return {*nearest};
  if (fitting.empty()) throw UserError("{}", refusal);
  std::ranges::stable_sort(fitting, std::ranges::greater{}, &Plan::tokens_per_second);
  return fitting;
}

}  // namespace jreg::plan
