#pragma once

#include <string>
#include <vector>

#include "config/option.h"

namespace jreg::commands {

struct ImportOptions {
  std::string input;
  std::string output;
  bool overwrite = false;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("input", input, Rule::any(), "folder of Hugging Face's with a Llama: config.json and safetensors");
    visit("output", output, Rule::any(), "checkpoint folder to make");
    visit("overwrite", overwrite, Rule::is_flag(), "replace a checkpoint of weights only that is there already");
  }
};

/// `jreg import`: folder of Hugging Face's -> checkpoint folder of weights only. Returns the exit code of success;
/// throws jreg::Error. Runs on one process, which starts MPI for itself.
int import_model(std::vector<std::string> const& arguments);
std::string import_help();

}  // namespace jreg::commands
