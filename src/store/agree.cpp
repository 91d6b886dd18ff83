#include "store/agree.h"

#include <string>

#include "base/error.h"
#include "base/log.h"

namespace jreg::store {
namespace {

/// Tells the others of this rank's failure; `text` is empty where there is none.
void share(mpi::Communicator const& comm, ExitCode code, std::string const& text) {
  std::int64_t failed = text.empty() ? 0 : 1;
  comm.max(std::span{&failed, 1});
  if (failed == 0) return;
  // The exit code travels as the first byte.
  std::string mine;
  if (!text.empty()) mine = static_cast<char>(code) + text;
  std::vector<std::string> const texts = comm.all_gather(mine);
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank].empty()) continue;
    auto const first = static_cast<ExitCode>(static_cast<unsigned char>(texts[rank].front()));
    std::string const text_of_rank = texts[rank].substr(1);
    throw AgreedError{first, rank == 0 ? text_of_rank : fmt::format("rank {}: {}", rank, text_of_rank)};
  }
}

}  // namespace

void agree(mpi::Communicator const& comm, std::function<void()> const& action) {
  if (comm.size() == 1) return action();
  std::string text;
  ExitCode code = ExitCode::done;
  try {
    action();
  } catch (std::exception const& error) {
    code = log::exit_code(error);
    text = error.what();
    if (text.empty()) text = "failed without saying why";
  }
  share(comm, code, text);
}

void agree_on_first(mpi::Communicator const& comm, std::function<void()> const& action) {
  agree(comm, [&] {
    if (comm.rank() == 0) action();
  });
}

}  // namespace jreg::store
