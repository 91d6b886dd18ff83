// token_tool FORMAT TOKENS VOCAB: prints the ids of a dataset, one line per document where the format tells of them,
// for comparison with other readers and writers.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/log.h"
#include "data/open_tokens.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    auto const stream = jreg::data::open_tokens(argv[2], argv[1]);
    for (std::int64_t begin = 0; begin < stream->tokens();) {
      std::int64_t const end = stream->next_document(begin);
      std::vector<std::int32_t> ids(static_cast<std::size_t>(end - begin));
      stream->read(begin, ids, std::atoll(argv[3]));
      fmt::print("{}\n", fmt::join(ids, " "));
      begin = end;
    }
  } catch (std::exception const& error) {
    jreg::log::error(error);
    return static_cast<int>(jreg::log::exit_code(error));
  }
  return 0;
}
