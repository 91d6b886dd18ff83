#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "h5/dataset.h"
#include "store/checkpoint.h"
#include "store/files.h"
#include "store/part_file.h"
#include "store/table_io.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t largest_manifest = std::int64_t{1} << 28;
// Each open file costs a descriptor; a checkpoint of thousands of ranks read by one would run out of them.
constexpr std::size_t most_open_files = 64;

/// The step that a name like "step_00001000" tells.
std::optional<std::int64_t> step_of(std::string const& name) {
  constexpr std::string_view prefix = "step_";
  if (!name.starts_with(prefix) || name.size() < prefix.size() + 8) return std::nullopt;
  std::int64_t step = 0;
  char const* const end = name.data() + name.size();
  auto const [stop, error] = std::from_chars(name.data() + prefix.size(), end, step);
  if (error != std::errc{} || stop != end || step < 0) return std::nullopt;
  return step;
}

/// The checkpoint that `latest` names, where it names one.
std::optional<fs::path> pointed_at(fs::path const& run_folder) {
  fs::path const pointer = run_folder / "checkpoints" / "latest";
  std::error_code error;
  if (!fs::exists(pointer, error)) return std::nullopt;
  try {
    std::string name = read_text(pointer, 64);
    while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
    if (step_of(name)) return run_folder / "checkpoints" / name;
    log::warning("{}: does not name a checkpoint; looking at all of them", pointer.string());
  } catch (Error const& failure) {
    log::warning("{}; looking at all checkpoints", failure.what());
  }
  return std::nullopt;
}

/// The common part of two rectangles; empty when there is none.
Rectangle common(Rectangle const& a, Rectangle const& b) {
  return {std::max(a.row_begin, b.row_begin), std::min(a.row_end, b.row_end), std::max(a.column_begin, b.column_begin),
          std::min(a.column_end, b.column_end)};
}

/// `part` as seen from the first row and column of `origin`.
Rectangle relative(Rectangle const& part, Rectangle const& origin) {
  return {part.row_begin - origin.row_begin, part.row_end - origin.row_begin, part.column_begin - origin.column_begin,
          part.column_end - origin.column_begin};
}

/// The state of a checkpoint whose manifest and file sizes are valid; warns where they are not.
std::optional<State> state_of_complete(fs::path const& folder) {
  try {
    return CheckpointReader{folder}.state();
  } catch (Error const& error) {
    log::warning("no complete checkpoint: {}", error.what());
    return std::nullopt;
  }
}

h5::Box box_of(Shape const& shape, Rectangle const& part) {
  return {begin_of(shape, part), count_of(shape, part)};
}

}  // namespace

fs::path checkpoint_folder(fs::path const& run_folder, std::int64_t step) {
  return run_folder / "checkpoints" / fmt::format("step_{:08}", step);
}

std::vector<std::pair<std::int64_t, fs::path>> list_checkpoints(fs::path const& run_folder) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator at{run_folder / "checkpoints", error}, end; !error && at != end; at.increment(error)) {
    if (auto const step = step_of(at->path().filename().string())) found.emplace_back(*step, at->path());
  }
  std::ranges::sort(found, std::greater{});
  return found;
}

bool is_complete(fs::path const& folder) {
  return state_of_complete(folder).has_value();
}

bool can_resume_from(fs::path const& folder) {
  auto const state = state_of_complete(folder);
  return state && !state->weights_only;
}

std::optional<fs::path> find_latest(fs::path const& run_folder) {
  std::optional<fs::path> const pointed = pointed_at(run_folder);
  if (pointed && can_resume_from(*pointed)) return pointed;
  for (auto const& [step, folder] : list_checkpoints(run_folder)) {
    if (folder != pointed && can_resume_from(folder)) return folder;
  }
  return std::nullopt;
}

std::vector<fs::path> resumable_checkpoints(fs::path const& run_folder) {
  std::vector<fs::path> folders;
  auto const latest = find_latest(run_folder);
  if (!latest) return folders;
  folders.push_back(*latest);
  bool older = false;
  for (auto const& [step, folder] : list_checkpoints(run_folder)) {
    if (older && can_resume_from(folder)) folders.push_back(folder);
    older = older || folder.filename() == latest->filename();
  }
  return folders;
}

Manifest read_manifest(fs::path const& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) throw UserError("{}: there is no such checkpoint folder", folder.string());
  fs::path const file = folder / "manifest.json";
  if (!fs::exists(file, error)) throw DataError("{}: is missing; the folder is no complete checkpoint", file.string());
  Manifest manifest = parse_manifest(read_text(file, largest_manifest), file.string());
  auto const step = step_of(folder.filename().string());
  if (step && *step != manifest.state.step) {
    throw DataError("{}: is of step {}, not of the step that the folder's name tells", file.string(),
                    manifest.state.step);
  }
  return manifest;
}

void check_size(fs::path const& folder, FileEntry const& file) {
  fs::path const path = folder / file.name;
  std::error_code error;
  auto const status = fs::symlink_status(path, error);
  if (status.type() == fs::file_type::not_found) throw DataError("{}: is missing", path.string());
  if (status.type() != fs::file_type::regular) throw DataError("{}: is no plain file", path.string());
  auto const size = static_cast<std::int64_t>(fs::file_size(path, error));
  if (error) throw SystemError{fmt::format("size of {}: {}", path.string(), error.message())};
  if (size != file.bytes)
    throw DataError("{}: has {} bytes, not the {} of its manifest", path.string(), size, file.bytes);
}

void check_hash(fs::path const& folder, FileEntry const& file) {
  check_size(folder, file);
  if (hash_file(folder / file.name) != file.hash) {
    throw DataError("{}: its content does not match the hash of its manifest: damaged, or of another checkpoint",
                    (folder / file.name).string());
  }
}

FileEntry describe_file(fs::path const& folder, std::string const& name) {
  fs::path const path = folder / name;
  std::error_code error;
  auto const size = fs::file_size(path, error);
  if (error) throw SystemError{fmt::format("size of {}: {}", path.string(), error.message())};
  return {name, static_cast<std::int64_t>(size), hash_file(path)};
}

CheckpointReader::CheckpointReader(fs::path folder) : folder_{std::move(folder)}, manifest_{read_manifest(folder_)} {
  for (FileEntry const& file : manifest_.files) check_size(folder_, file);
  for (std::size_t i = 0; i < manifest_.tensors.size(); ++i) {
    places_.emplace(std::pair{manifest_.tensors[i].kind, manifest_.tensors[i].name}, i);
  }
}

TensorEntry const* CheckpointReader::find(TensorKind kind, std::string const& name) const {
  auto const at = places_.find({kind, name});
  return at == places_.end() ? nullptr : &manifest_.tensors[at->second];
}

h5::File const& CheckpointReader::open(std::string const& name) {
  if (auto const at = open_files_.find(name); at != open_files_.end()) return at->second;
  // Before HDF5 sees it: a damaged file can crash the library.
  if (!checked_.contains(name)) {
    check_hash(folder_, *std::ranges::find(manifest_.files, name, &FileEntry::name));
    checked_.insert(name);
  }
  if (open_files_.size() >= most_open_files) open_files_.clear();
  return open_files_.emplace(name, h5::open_file(folder_ / name)).first->second;
}

void CheckpointReader::read_slice(TensorKind kind, std::string const& name, Rectangle const& part, DType dtype,
                                  void* host) {
  TensorEntry const* const tensor = find(kind, name);
  if (tensor == nullptr) throw DataError("{}: has no {}/{}", folder_.string(), group_of(kind), name);
  if (part.empty()) return;
  Rectangle const inside = common(part, Rectangle::whole(tensor->shape));
  if (inside != part) {
    throw DataError("{}: {}/{} is {} x {}; rows {}-{} and columns {}-{} are not all there", folder_.string(),
                    group_of(kind), name, tensor->shape.rows, tensor->shape.columns, part.row_begin, part.row_end,
                    part.column_begin, part.column_end);
  }
  h5::Extents const array = count_of(tensor->shape, part);
  // The manifest's slices cover the tensor, hence also the part.
  for (SliceEntry const& slice : tensor->slices) {
    Rectangle const shared = common(part, slice.part);
    if (shared.empty()) continue;
    h5::DataSet const dataset = h5::open_dataset(open(slice.file).get(), dataset_of(*tensor, slice.part));
    h5::expect_type(dataset, tensor->dtype, array.size());
    if (h5::shape_of(dataset) != count_of(tensor->shape, slice.part)) {
      throw DataError("{}: its shape is not that of the manifest", h5::name_of(dataset.get()));
    }
    h5::read_box(dataset, box_of(tensor->shape, relative(shared, slice.part)), dtype, host, array,
                 box_of(tensor->shape, relative(shared, part)));
  }
}

Trajectory CheckpointReader::trajectory() {
  return read_trajectory(open("index.h5").get(), state().layers);
}

}  // namespace jreg::store
