#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "store/agree.h"
#include "store/checkpoint.h"
#include "store/files.h"
#include "store/part_file.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

fs::path checkpoints_of(fs::path const& run_folder) {
  return run_folder / "checkpoints";
}

/// Removes what killed saves and purges left behind: nobody else works in this run's folder.
void remove_leftovers(fs::path const& checkpoints) {
  std::error_code error;
  for (fs::directory_iterator at{checkpoints, error}, end; !error && at != end; at.increment(error)) {
    std::string const name = at->path().filename().string();
    bool const unfinished = name.starts_with("step_") && name.find(".tmp-") != std::string::npos;
    if (!unfinished && !name.starts_with(".trash-")) continue;
    std::error_code failed;
    fs::remove_all(at->path(), failed);
    if (failed) log::warning("cannot remove {}: {}", at->path().string(), failed.message());
  }
}

/// The folder that the files are written in before it gets its name.
fs::path make_temporary(fs::path const& run_folder, std::int64_t step) {
  fs::path const checkpoints = checkpoints_of(run_folder);
  make_folders(checkpoints);
  remove_leftovers(checkpoints);
  fs::path temporary = checkpoint_folder(run_folder, step);
  temporary += fmt::format(".tmp-{}", ::getpid());
  make_folders(temporary);
  return temporary;
}

std::string space_text(fs::path const& folder, std::int64_t needed) {
  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0) return fmt::format("{} bytes are needed", needed);
  return fmt::format("{} bytes are needed and {} free", needed, std::uint64_t{space.f_bavail} * space.f_frsize);
}

/// Runs `write`; an error of the system then also tells how much space is needed.
template <class Write> void tell_space(fs::path const& folder, std::int64_t needed, Write&& write) {
  try {
    write();
  } catch (SystemError const& error) {
    throw Error{error.code(), fmt::format("{}; {} for this file", error.what(), space_text(folder, needed))};
  }
}

/// What one rank tells the first of its file.
std::string describe_part(fs::path const& folder, int rank, std::span<SavedSlice const> slices) {
  std::string const name = part_name(rank);
  nlohmann::json list = nlohmann::json::array();
  for (SavedSlice const& slice : slices) {
    if (slice.part.empty()) continue;
    Rectangle const& part = slice.part;
    list.push_back({slice.name, static_cast<int>(slice.kind), static_cast<int>(slice.dtype), slice.shape.rows,
                    slice.shape.columns, slice.shape.vector, part.row_begin, part.row_end, part.column_begin,
                    part.column_end});
  }
  FileEntry const file = describe_file(folder, name);
  return nlohmann::json{{"name", name}, {"bytes", file.bytes}, {"hash", file.hash}, {"slices", list}}.dump();
}

/// Joins what the ranks told into the manifest's tables, in the order of kind and name.
void join_parts(std::vector<std::string> const& parts, Manifest& manifest) {
  std::map<std::pair<TensorKind, std::string>, TensorEntry> tensors;
  for (std::string const& text : parts) {
    auto const part = nlohmann::json::parse(text);
    std::string const file = part.at("name");
    manifest.files.push_back({file, part.at("bytes"), part.at("hash")});
    for (auto const& slice : part.at("slices")) {
      TensorEntry entry{.name = slice[0],
                        .kind = static_cast<TensorKind>(slice[1].get<int>()),
                        .dtype = static_cast<DType>(slice[2].get<int>()),
                        .shape = {slice[3], slice[4], slice[5]},
                        .slices = {}};
      TensorEntry& tensor = tensors.try_emplace({entry.kind, entry.name}, entry).first->second;
      expect(tensor.dtype == entry.dtype && tensor.shape == entry.shape, "ranks save a tensor with one shape and type");
      tensor.slices.push_back({file, {slice[6], slice[7], slice[8], slice[9]}});
    }
  }
  for (auto& [key, tensor] : tensors) {
    // A name, a hole or an overlap that loading would refuse is a fault of the caller, not of a file.
    try {
      check_tensor(tensor, "checkpoint");
    } catch (DataError const& error) {
      expect(false, error.what());
    }
    manifest.tensors.push_back(std::move(tensor));
  }
}

std::string hash_of_config(KeyValues const& config) {
  std::string text;
  for (auto const& [key, value] : config) text += key + "=" + value + "\n";
  return hash_of(text);
}

/// Puts the finished folder in its place. A complete one that is there already (the same step saved again) changes
/// places with it at once, where the file system can do that.
void put_in_place(fs::path const& temporary, fs::path const& folder) {
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return rename_durably(temporary, folder);
  fs::path const trash = folder.parent_path() / (".trash-" + folder.filename().string());
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, folder.c_str(), RENAME_EXCHANGE) == 0) {
    sync(folder.parent_path());
    rename_durably(temporary, trash);
  } else {
    rename_durably(folder, trash);
    rename_durably(temporary, folder);
  }
  fs::remove_all(trash, ignored);
}

/// Removes the complete checkpoints before the `keep` newest up to `step`, and whatever is older than those.
void purge(fs::path const& run_folder, std::int64_t step, std::int64_t keep) {
  if (keep == 0) return;
  std::int64_t kept = 0;
  for (auto const& [at, folder] : list_checkpoints(run_folder)) {
    // Later steps are of a run that this one went back behind; they are the user's to remove.
    if (at > step) continue;
    if (kept < keep) {
      if (at == step || is_complete(folder)) ++kept;
      continue;
    }
    fs::path const trash = folder.parent_path() / (".trash-" + folder.filename().string());
    std::error_code error;
    // Renamed first: a folder that is half removed must not look complete.
    fs::rename(folder, trash, error);
    if (!error) fs::remove_all(trash, error);
    if (error) log::warning("cannot remove the old checkpoint {}: {}", folder.string(), error.message());
  }
}

/// The first rank's share: index, manifest, names.
SaveReport commit(fs::path const& run_folder, fs::path const& temporary, Manifest manifest,
                  Trajectory const& trajectory, std::int64_t keep) {
  // The trajectory, and some room for the maps of the tensors.
  std::int64_t const estimate = 8 * trajectory.values() + (std::int64_t{1} << 20);
  tell_space(temporary, estimate, [&] { write_index(temporary / "index.h5", manifest, trajectory); });
  manifest.files.push_back(describe_file(temporary, "index.h5"));
  std::string const text = to_json(manifest);
  tell_space(temporary, static_cast<std::int64_t>(text.size()),
             [&] { replace_file(temporary / "manifest.json", text); });
  sync(temporary);
  SaveReport report{checkpoint_folder(run_folder, manifest.state.step), static_cast<std::int64_t>(text.size())};
  for (FileEntry const& file : manifest.files) report.bytes += file.bytes;
  put_in_place(temporary, report.folder);
  replace_file(checkpoints_of(run_folder) / "latest", report.folder.filename().string() + "\n");
  purge(run_folder, manifest.state.step, keep);
  return report;
}

}  // namespace

SaveReport save(mpi::Communicator const& comm, fs::path const& run_folder, State const& state,
                Trajectory const* trajectory, std::span<SavedSlice const> slices, std::int64_t keep) {
  std::string temporary;
  agree_on_first(comm, [&] { temporary = make_temporary(run_folder, state.step).string(); });
  comm.broadcast(temporary, 0);
  SaveReport report;
  try {
    std::string part;
    agree(comm, [&] {
      std::int64_t needed = 0;
      for (SavedSlice const& slice : slices) needed += bytes_of(slice);
      fs::path const file = fs::path{temporary} / part_name(comm.rank());
      tell_space(temporary, needed, [&] { write_part(file, comm.rank(), state.step, slices); });
      part = describe_part(temporary, comm.rank(), slices);
    });
    std::vector<std::string> const parts = comm.all_gather(part);
    agree_on_first(comm, [&] {
      expect(trajectory != nullptr && trajectory->layers() == state.layers, "the first rank saves the trajectory");
      Manifest manifest{.state = state,
                        .version = version(),
                        .commit = jreg::commit(),
                        .config_hash = hash_of_config(state.config),
                        .files = {},
                        .tensors = {}};
      join_parts(parts, manifest);
      report = commit(run_folder, temporary, std::move(manifest), *trajectory, keep);
    });
  } catch (...) {
    std::error_code ignored;
    if (comm.rank() == 0) fs::remove_all(temporary, ignored);
    throw;
  }
  report.folder = checkpoint_folder(run_folder, state.step);
  comm.max(std::span{&report.bytes, 1});
  return report;
}

}  // namespace jreg::store
