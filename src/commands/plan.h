#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace jreg::commands {

struct PlanArguments {
  std::string config;
  std::string machine;
  std::int64_t nodes = 1;
  std::int64_t ranks = 0;
  std::int64_t rows = 10;
  bool scaling = false;
  std::string calibrate;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("config", config, Rule::any(), "INI file with the options of `jreg train`, [section] and key = value");
    visit("machine", machine, Rule::any(),
          "file that describes a node, as those in configs/machines/; empty: a node of 8 H100 with 80 GB each");
    visit("nodes", nodes, Rule::between(1, 65536), "nodes to plan for");
    visit("ranks", ranks, Rule::between(0, 65536),
          "ranks to plan for, which fill one node after another; 0: all of --nodes");
    visit("rows", rows, Rule::at_least(0), "most rows of the table of meshes");
    visit("scaling", scaling, Rule::is_flag(),
          "instead: a Markdown table of the fastest mesh for 1, 2, 4 ... 1024 ranks of the machine");
    visit("calibrate", calibrate, Rule::any(),
          "instead: measure this machine's CPU with a few updates of the config, alone or under mpirun, and write such "
          "a machine file here");
  }
};

/// `jreg plan`: memory, traffic and time of a config on a machine, without running it. Opens no data; MPI only for
/// --calibrate. Returns the exit code; throws UserError where nothing fits.
int plan(std::vector<std::string> const& arguments);
std::string plan_help();

}  // namespace jreg::commands
