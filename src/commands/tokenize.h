#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/option.h"

namespace jreg::commands {

struct TokenizeOptions {
  std::string input;
  std::string output;
  std::string tokenizer = "byte";
  std::int64_t train_vocab = 0;
  std::int64_t train_mb = 32;
  std::string jsonl_field;
  std::int64_t document_bytes = 0;
  double validation = 0;
  std::int64_t threads = 0;
  std::int64_t seed = 1;
  bool overwrite = false;

  template <class Visit> void each(Visit&& visit) {
    using config::Rule;
    visit("input", input, Rule::any(),
          "files and folders of text, separated by commas; further ones may stand on the command line without --input. "
          "Of a folder every file below it is read, sorted by path, hidden ones left out");
    visit("output", output, Rule::any(),
          "prefix of what is written: PREFIX.bin and PREFIX.idx (tokens), PREFIX.json (a description for people)");
    visit("tokenizer", tokenizer, Rule::any(), "byte (one token per byte), or the path of a SentencePiece model");
    visit("train-vocab", train_vocab, Rule::between(0, 1 << 20),
          "train a SentencePiece BPE model of this many pieces on the input, write it as PREFIX.model and use it; "
          "0: use --tokenizer");
    visit("train-mb", train_mb, Rule::between(1, 1024),
          "most MiB of text to train on, chosen by line from longer input");
    visit("jsonl-field", jsonl_field, Rule::any(),
          "the input is JSON lines, each a document whose text is the field of this name; empty: plain text");
    visit("document-bytes", document_bytes, Rule::at_least(0),
          "plain text: a document ends at the first line end after this many bytes; 0: each file is one document");
    visit("validation", validation, Rule::below(0, 1),
          "share of the documents, chosen by --seed, that becomes PREFIX_validation; the others become PREFIX_train; "
          "0: no split");
    visit("threads", threads, Rule::between(0, 1024), "threads that encode; 0: all cores. The result is the same");
    visit("seed", seed, Rule::at_least(0), "seed of the split and of the lines to train on");
    visit("overwrite", overwrite, Rule::is_flag(), "replace output files that are there already");
  }
};

/// `jreg tokenize`: text -> token files. Returns the exit code of success; throws jreg::Error. Runs on one process,
/// without MPI.
int tokenize(std::vector<std::string> const& arguments);

/// Text of `jreg tokenize --help`.
std::string tokenize_help();

}  // namespace jreg::commands
