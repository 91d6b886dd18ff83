#include "plan/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace jreg::plan {
namespace {

double gigabytes(double bytes) {
  return bytes / 1e9;
}

std::string memory_text(Plan const& plan, Machine const& machine) {
  std::string text = fmt::format("memory per rank, MB; it has {:.6g} GB, {:.6g} of them reserved\n", machine.memory_gb,
                                 machine.reserve_gb);
  for (train::MemoryTerm const& term : plan.memory) {
    text += fmt::format("  {:<40}{:>12.2f}\n", term.name, static_cast<double>(term.bytes) / 1e6);
  }
  text += fmt::format("  {:<40}{:>12.2f}\n", "all tensors", static_cast<double>(plan.memory_bytes) / 1e6);
  return text + fmt::format("  {:<40}{:>12.2f}\n", "copy for checkpoints, in host memory",
                            static_cast<double>(plan.host_bytes) / 1e6);
}

std::string wire_text(Timeline const& update) {
  if (update.transfers.empty()) return "on the wire: nothing\n";
  std::string text = fmt::format("on the wire per update and rank\n  {:<40}{:>15}{:>9}{:>8}{:>12}{:>12}{:>10}\n", "",
                                 "", "link", "calls", "MB given", "MB sent", "ms");
  for (TransferTerm const& term : update.transfers) {
    text += fmt::format("  {:<40}{:>15}{:>9}{:>8}{:>12.3f}{:>12.3f}{:>10.2f}\n", term.name,
                        backend::collective_names.at(static_cast<std::size_t>(term.kind)), term.link,
                        term.traffic.calls, static_cast<double>(term.traffic.handed_in) / 1e6,
                        static_cast<double>(term.traffic.wire) / 1e6, term.seconds * 1e3);
  }
  return text;
}

std::string time_text(Plan const& plan, Machine const& machine) {
  Timeline const& update = plan.update;
  std::string text = "time of an update, ms\n";
  for (std::size_t i = 0; i < update.work.size(); ++i) {
    text += fmt::format("  {:<40}{:>12.2f}\n", backend::rehearsal::work_names.at(i), update.work.at(i) * 1e3);
  }
  text +=
      fmt::format("  {:<40}{:>12.2f}\n", fmt::format("transfers not hidden, of {:.2f} ms", update.transferring * 1e3),
                  update.waiting * 1e3);
  return text + fmt::format("  {:<40}{:>12.2f}   {:.1f} % of the peak rate\n", "whole", update.seconds * 1e3,
                            100 * plan.share_of_peak(machine));
}

/// What an update takes for JREG, against one without statistics.
std::string jreg_text(Plan const& plan, Machine const& machine) {
  int const world = plan.at.data_size * plan.at.tensor_size;
  train::Rehearsal rehearsal = rehearse(plan.config, world, machine);
  Timeline const plain = timeline_of(rehearsal, machine, train::Measure::nothing);
  std::string text = "JREG's own cost in an update\n";
  for (auto const& [name, measure] : {std::pair{"statistics", train::Measure::statistics},
                                      std::pair{"statistics and penalty", train::Measure::penalty}}) {
    Timeline const with = timeline_of(rehearsal, machine, measure);
    bool const split = plan.config.mesh.sequence_parallel;
    double const tokens = static_cast<double>(plan.tokens()) / plan.at.data_size / (split ? plan.at.tensor_size : 1);
    text += fmt::format("  {:<40}{:>12.2f} ms, {:.2f} %; {:.0f} bytes per token and layer\n", name,
                        (with.seconds - plain.seconds) * 1e3, 100 * (with.seconds / plain.seconds - 1),
                        (with.bytes - plain.bytes) / tokens / static_cast<double>(plan.config.model.layers));
  }
  return text;
}

}  // namespace

std::string report(Plan const& plan, Machine const& machine) {
  return memory_text(plan, machine) + "\n" + wire_text(plan.update) + "\n" + time_text(plan, machine) + "\n" +
         jreg_text(plan, machine);
}

std::string table(std::span<Plan const> plans, Machine const& machine, std::string const& chosen) {
  std::string text =
      fmt::format("{:<72}{:>9}{:>12}{:>9}\n", "meshes that fit, best first", "GB/rank", "tokens/s", "of peak");
  for (Plan const& plan : plans) {
    std::string const mesh = plan.mesh_text();
    text += fmt::format("{} {:<70}{:>9.2f}{:>12.0f}{:>8.1f}%\n", mesh == chosen ? '*' : ' ', mesh,
                        gigabytes(static_cast<double>(plan.memory_bytes)), plan.tokens_per_second(),
                        100 * plan.share_of_peak(machine));
  }
  return text;
}

std::string last_line(Plan const& plan) {
  return fmt::format("plan: {}; {:.2f} GB per rank; {:.0f} tokens/s", plan.mesh_text(),
                     gigabytes(static_cast<double>(plan.memory_bytes)), plan.tokens_per_second());
}

std::string scaling_table(config::Config const& config, Machine const& machine) {
  std::string text =
      "| ranks | mesh | GB per rank | tokens/s | tokens/s per rank | of peak | of one rank's speed |\n"
      "|---:|---|---:|---:|---:|---:|---:|\n";
  double first = 0;  // tokens/s of a rank where there are fewest
  for (int world = 1; world <= 1024; world *= 2) {
    std::string row;
    try {
      Plan const plan = search(config, world, machine).front();
      if (!plan.misfit.empty()) throw UserError("{}", plan.misfit);
      double const rate = plan.tokens_per_second() / world;
      if (first == 0) first = rate;
      row = fmt::format("{} | {:.1f} | {:.0f} | {:.0f} | {:.1f} % | {:.1f} %", plan.mesh_text(),
                        gigabytes(static_cast<double>(plan.memory_bytes)), plan.tokens_per_second(), rate,
                        100 * plan.share_of_peak(machine), 100 * rate / first);
    } catch (UserError const& error) {
      row = fmt::format("{} | | | | | ", error.what());
    }
    text += fmt::format("| {} | {} |\n", world, row);
  }
  return text;
}

}  // namespace jreg::plan
