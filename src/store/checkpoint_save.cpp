#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "store/agree.h"
#include "store/checkpoint.h"
#include "store/files.h"
#include "store/output_folder.h"
#include "store/part_file.h"
#include "store/pending_save.h"

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

/// A rank's slices as it tells the first rank of them.
nlohmann::json describe_slices(std::span<SavedSlice const> slices) {
  nlohmann::json list = nlohmann::json::array();
  for (SavedSlice const& slice : slices) {
    if (slice.part.empty()) continue;
    Rectangle const& part = slice.part;
    list.push_back({slice.name, static_cast<int>(slice.kind), static_cast<int>(slice.dtype), slice.shape.rows,
                    slice.shape.columns, slice.shape.vector, part.row_begin, part.row_end, part.column_begin,
                    part.column_end});
  }
  return list;
}

/// Joins what the ranks told into the manifest's tables, in the order of kind and name.
void join_slices(std::vector<std::string> const& parts, Manifest& manifest) {
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

}  // namespace

PendingSave::PendingSave(mpi::Communicator const& comm, fs::path run_folder, State state,
                         std::span<SavedSlice const> slices, Retention const& retention)
    : comm_{comm}, run_folder_{std::move(run_folder)}, state_{std::move(state)}, retention_{retention} {
  std::string temporary;
  agree_on_first(comm_, [&] { temporary = make_temporary(run_folder_, state_.step).string(); });
  comm_.broadcast(temporary, 0);
  temporary_ = temporary;
  try {
    agree(comm_, [&] { begin(slices); });
  } catch (...) {
    work_.reset();
    remove_temporary();
    throw;
  }
}

PendingSave::~PendingSave() {
  work_.reset();
  if (phase_ == Phase::writing) remove_temporary();
}

void PendingSave::begin(std::span<SavedSlice const> slices) {
  std::int64_t needed = 0;
  for (SavedSlice const& slice : slices) needed += bytes_of(slice);
  slices_ = describe_slices(slices).dump();
  std::string const name = part_name(comm_.rank());
  fs::path const file = temporary_ / name;
  std::vector<Placement> placements;
  tell_space(temporary_, needed, [&] { placements = create_part(file, comm_.rank(), state_.step, slices); });
  work_.emplace([this, needed, name, file, placements = std::move(placements)](std::stop_token const& stop) {
    tell_space(temporary_, needed, [&] { fill_part(file, placements, stop); });
    part_ = describe_file(temporary_, name);
  });
}

std::optional<SaveReport> PendingSave::advance(Trajectory const* trajectory) {
  expect(phase_ != Phase::done, "a save that is complete is not advanced");
  try {
    if (phase_ == Phase::writing) {
      join_parts(trajectory);
      phase_ = Phase::publishing;
      return std::nullopt;
    }
    agree(comm_, [&] {
      if (work_) work_->finish();
    });
  } catch (...) {
    phase_ = Phase::done;
    work_.reset();
    remove_temporary();
    throw;
  }
  phase_ = Phase::done;
  report_.folder = checkpoint_folder(run_folder_, state_.step);
  comm_.max(std::span{&report_.bytes, 1});
  return report_;
}

SaveReport PendingSave::finish(Trajectory const* trajectory) {
  for (;;) {
    if (auto const report = advance(trajectory)) return *report;
  }
}

void PendingSave::join_parts(Trajectory const* trajectory) {
  std::string part;
  agree(comm_, [&] {
    work_->finish();
    part = nlohmann::json{{"name", part_.name},
                          {"bytes", part_.bytes},
                          {"hash", part_.hash},
                          {"slices", nlohmann::json::parse(slices_)}}
               .dump();
  });
  work_.reset();
  std::vector<std::string> const parts = comm_.all_gather(part);
  agree_on_first(comm_, [&] {
    expect(trajectory != nullptr && trajectory->layers() == state_.layers, "the first rank saves the trajectory");
    Manifest manifest{.state = state_,
                      .version = version(),
                      .commit = jreg::commit(),
                      .config_hash = hash_of_config(state_.config),
                      .files = {},
                      .tensors = {}};
    join_slices(parts, manifest);
    // The trajectory, and some room for the maps of the tensors.
    std::int64_t const estimate = 8 * trajectory->values() + (std::int64_t{1} << 20);
    tell_space(temporary_, estimate, [&] { write_index(temporary_ / "index.h5", manifest, *trajectory); });
    work_.emplace([this, manifest, estimate](std::stop_token const&) { publish(manifest, estimate); });
  });
}

void PendingSave::publish(Manifest manifest, std::int64_t index_bytes) {
  tell_space(temporary_, index_bytes, [&] { sync(temporary_ / "index.h5"); });
  manifest.files.push_back(describe_file(temporary_, "index.h5"));
  std::string const text = to_json(manifest);
  auto const size = static_cast<std::int64_t>(text.size());
  tell_space(temporary_, size, [&] { replace_file(temporary_ / "manifest.json", text); });
  sync(temporary_);
  report_.bytes = size;
  for (FileEntry const& file : manifest.files) report_.bytes += file.bytes;
  fs::path const folder = checkpoint_folder(run_folder_, state_.step);
  put_in_place(temporary_, folder);
  // What nobody can go on from is no newest checkpoint, and pushes none out.
  if (state_.weights_only) return;
  replace_file(checkpoints_of(run_folder_) / "latest", folder.filename().string() + "\n");
  purge(run_folder_, state_.step, retention_);
}

void PendingSave::remove_temporary() noexcept {
  std::error_code ignored;
  if (comm_.rank() == 0) fs::remove_all(temporary_, ignored);
}

SaveReport save(mpi::Communicator const& comm, fs::path const& run_folder, State const& state,
                Trajectory const* trajectory, std::span<SavedSlice const> slices, Retention const& retention) {
  return PendingSave{comm, run_folder, state, slices, retention}.finish(trajectory);
}

}  // namespace jreg::store
