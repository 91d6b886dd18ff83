// token_tool PREFIX VOCAB: prints one line of token ids per document, for comparison with other readers and writers.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "data/token_file.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    jreg::data::TokenFile const file{argv[1]};
    for (std::int64_t i = 0; i < file.documents(); ++i) {
      std::vector<std::int32_t> ids(static_cast<std::size_t>(file.document_begin(i + 1) - file.document_begin(i)));
      file.read(file.document_begin(i), ids, std::atoll(argv[2]));
      fmt::print("{}\n", fmt::join(ids, " "));
    }
  } catch (std::exception const& error) {
    jreg::log::error(error);
    return static_cast<int>(jreg::log::exit_code(error));
  }
  return 0;
}
