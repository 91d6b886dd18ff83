#include "commands/info.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "config/parse.h"
#include "data/token_file.h"
#include "store/describe.h"

namespace jreg::commands {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> paths_of(std::vector<std::string> const& arguments, char const* command) {
  std::vector<std::string> paths = config::parse_arguments(arguments, {}, true);
  if (paths.empty()) throw UserError("jreg {} needs the path of a file or folder", command);
  return paths;
}

/// PREFIX of a token file, for PREFIX itself, PREFIX.bin and PREFIX.idx.
bool is_token_file(fs::path const& path) {
  std::error_code error;
  auto const pair_of = [&](fs::path prefix) { return fs::exists(fs::path{prefix += ".idx"}, error); };
  if (path.extension() == ".bin" || path.extension() == ".idx") {
    return fs::exists(path, error) && pair_of(fs::path{path}.replace_extension());
  }
  return !fs::is_directory(path, error) && pair_of(path);
}

std::string describe_tokens(std::string const& path) {
  data::TokenFile const file{path};
  auto const bytes = static_cast<std::int64_t>(fs::file_size(file.prefix() + ".bin"));
  return fmt::format("{}: token file\n  {:<13} {}\n  {:<13} {}\n  {:<13} {} bytes each\n", file.prefix(), "documents",
                     file.documents(), "tokens", file.tokens(), "token ids", bytes / file.tokens());
}

store::FileKind kind_of(std::string const& path) {
  std::optional<store::FileKind> const kind = store::kind_of(path);
  if (!kind) {
    throw UserError(
        "{}: is none of jreg's files: give a run folder, a checkpoint folder, a dynamics.h5, what jreg analyze wrote, "
        "or "
        "the prefix of a token file",
        path);
  }
  return *kind;
}

}  // namespace

int info(std::vector<std::string> const& arguments) {
  for (std::string const& path : paths_of(arguments, "info")) {
    fmt::print("{}", is_token_file(path) ? describe_tokens(path) : store::describe(path, kind_of(path)));
  }
  return static_cast<int>(ExitCode::done);
}

std::string info_help() {
  return "jreg info PATH...\n\n"
         "Prints what PATH is: a run folder, a checkpoint folder (step, tokens, mesh, parameters, hashes), a "
         "dynamics.h5\n"
         "or what jreg analyze wrote (rows, steps, last values), or a token file. Reads only; a run may be writing at "
         "the same\n"
         "time.\n";
}

int verify(std::vector<std::string> const& arguments) {
  bool damaged = false;
  for (std::string const& path : paths_of(arguments, "verify")) {
    store::Verdict verdict;
    if (is_token_file(path)) {
      try {
        describe_tokens(path);
        verdict.good.push_back(fmt::format("{}: token file is well formed", path));
      } catch (DataError const& error) {
        verdict.faults.push_back(error.what());
      }
    } else {
      verdict = store::verify(path, kind_of(path));
    }
    for (std::string const& line : verdict.good) fmt::print("{}\n", line);
    for (std::string const& line : verdict.faults) fmt::print(stderr, "jreg: error: {}\n", line);
    damaged = damaged || !verdict.faults.empty();
  }
  return static_cast<int>(damaged ? ExitCode::data : ExitCode::done);
}

std::string verify_help() {
  return "jreg verify PATH...\n\n"
         "Checks sizes and hashes of a checkpoint folder, of all checkpoints of a run folder or of one file of them, "
         "and\n"
         "the structure of a dynamics.h5, an analysis or a token file. Names every damaged file and then returns 65.\n";
}

}  // namespace jreg::commands
