#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace jreg::data {

/// The tokens of a document or of a part of one.
struct EncodedPart {
  std::vector<std::int32_t> tokens;  // with EOS behind the last part
  std::int64_t text_bytes = 0;
  std::int64_t source_bytes = 0;  // read from the file for it
  bool begins_document = true;
  bool ends_document = true;
};

/// What to encode and how.
struct EncodeJob {
  std::vector<std::filesystem::path> files;
  CorpusLayout layout;
  int threads = 1;
};

/// Encodes all files on `job.threads` threads and hands the parts to `sink`, in the order of the text, on the calling
/// thread; documents without text are left out. What sink receives does not depend on the number of threads, and at
/// most some MiB per thread are held at a time. Throws DataError naming file and place of text that is not UTF-8 and of
/// bad JSON: always the first one in the files.
void encode_corpus(EncodeJob const& job, Tokenizer const& tokenizer,
                   std::function<void(EncodedPart const&)> const& sink);

/// Lines of the corpus to train a tokenizer on: all of them, or where they are more than about `most_bytes`, a share
/// chosen by (seed, number of the line). Blank lines are left out, long ones are cut.
std::vector<std::string> sample_lines(EncodeJob const& job, std::int64_t most_bytes, std::int64_t seed);

}  // namespace jreg::data
