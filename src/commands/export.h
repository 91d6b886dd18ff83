#pragma once

#include <string>
#include <vector>

#include "config/option.h"

namespace jreg::commands {

struct ExportOptions {
  std::string checkpoint;
  std::string output;
  std::string dtype = "auto";
  double shard_gb = 5;
  std::string tokenizer;
  bool overwrite = false;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("checkpoint", checkpoint, Rule::any(),
          "checkpoint folder, whatever mesh wrote it, or run folder, of which the newest complete checkpoint is taken");
    visit("output", output, Rule::any(), "folder to make");
    visit("dtype", dtype, Rule::one_of({"auto", "fp32", "bf16"}),
          "type of the weights: fp32, bf16 (rounded to nearest), or auto: as the checkpoint holds them");
    visit("shard-gb", shard_gb, {.min = 0, .max = 1e6, .min_excluded = true},
          "largest size of a file in GB (10^9 bytes); more weights go to several files with an index");
    visit("tokenizer", tokenizer, Rule::any(),
          "folder with tokenizer files of Hugging Face's, which are copied, or a SentencePiece .model (that of jreg "
          "tokenize), which transformers' LlamaTokenizer reads; empty: the export has no tokenizer");
    visit("overwrite", overwrite, Rule::is_flag(), "replace an earlier export that is there already");
  }
};

/// `jreg export`: checkpoint -> folder of Hugging Face's. Returns the exit code of success; throws jreg::Error. Runs on
/// one process, without MPI.
int export_model(std::vector<std::string> const& arguments);
std::string export_help();

}  // namespace jreg::commands
