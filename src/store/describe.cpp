#include "store/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/child_process.h"
#include "base/error.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/file.h"
#include "store/analysis.h"
#include "store/checkpoint.h"
#include "store/table_io.h"

namespace jreg::store {
namespace fs = std::filesystem;
namespace {

std::string line(char const* name, std::string const& value) {
  return fmt::format("  {:<13} {}\n", name, value);
}

bool is_hdf5(fs::path const& file) {
  constexpr std::string_view signature = "\x89HDF\r\n\x1a\n";
  std::string start(signature.size(), '\0');
  std::ifstream{file, std::ios::binary}.read(start.data(), static_cast<std::streamsize>(start.size()));
  return start == signature;
}

/// A file of tables with its rows: dynamics (growing, left by a killed run, or closed), or an analysis of models.
struct Tables {
  h5::File file;
  std::optional<Trajectory> trajectory;  // of dynamics
  std::vector<AnalysedModel> models;     // of an analysis
};

Tables read_tables(fs::path const& path) {
  h5::initialize();
  try {
    h5::File file = h5::open_growing_file(path);
    std::string const format =
        h5::has_attribute(file.get(), "format") ? h5::text_attribute(file.get(), "format") : std::string{};
    if (format == analysis_format) {
      std::vector<AnalysedModel> models = read_analysis(file.get(), path);
      return {std::move(file), std::nullopt, std::move(models)};
    }
    if (format != DynamicsFile::format) {
      throw DataError("{}: is an HDF5 file, but neither dynamics nor an analysis of jreg's", path.string());
    }
    h5::Group const train = h5::open_group(file.get(), "train");
    h5::Extents const shape = h5::shape_of(h5::open_dataset(train.get(), "displacement"));
    if (shape.size() != 2 || shape[1] < 1 || shape[1] > 1'000'000) {
      throw DataError("{}: /train/displacement is not (rows, layers)", path.string());
    }
    Trajectory trajectory = read_trajectory(file.get(), static_cast<std::int64_t>(shape[1]));
    return {std::move(file), std::move(trajectory), {}};
  } catch (SystemError const& error) {
    // The file is there and can be read: what HDF5 dislikes is inside it.
    throw DataError("{}: {}", path.string(), error.what());
  }
}

std::string describe_table(char const* name, Table const& table) {
  if (table.rows() == 0) return line(name, "no rows");
  std::int64_t const last = table.rows() - 1;
  std::string text = fmt::format("{} rows, steps {} to {}; last: loss {:.4f}", table.rows(), table.steps().front(),
                                 table.last_step(), table.reals("loss", last)[0]);
  bool const layered =
      std::ranges::any_of(table.columns(), [](Column const& c) { return std::string_view{c.name} == "jump_rate"; });
  if (layered) {
    text += fmt::format(", displacement of layer {} {:.5f}, its jump rate {:.3f} %", table.layers(),
                        table.reals("displacement", last).back(), table.reals("jump_rate", last).back());
  }
  return line(name, text);
}

std::string describe_trajectory(Trajectory const& trajectory) {
  return describe_table("train", trajectory.train()) + describe_table("validation", trajectory.validation()) +
         describe_table("probe", trajectory.probe());
}

std::string text_of_analysis(Tables const& tables, fs::path const& path) {
  hid_t const at = tables.file.get();
  std::string text =
      fmt::format("{}: analysis of models\n", path.string()) + line("data", h5::text_attribute(at, "data"));
  for (AnalysedModel const& model : tables.models) text += describe_table(model.name.c_str(), model.rows);
  return text;
}

std::string text_of_dynamics(Tables const& tables, fs::path const& path) {
  hid_t const at = tables.file.get();
  return fmt::format("{}: training dynamics of a run\n", path.string()) +
         line("started", h5::text_attribute(at, "start_time")) + line("hosts", h5::text_attribute(at, "hosts")) +
         line("layers", std::to_string(tables.trajectory->layers())) + describe_trajectory(*tables.trajectory);
}

/// No hash vouches for a file of tables, and HDF5 itself crashes on some that are damaged: read apart from this
/// process.
std::string describe_tables(fs::path const& path) {
  return in_child_process(path.string(), [&] {
    Tables const tables = read_tables(path);
    hid_t const at = tables.file.get();
    return (tables.trajectory ? text_of_dynamics(tables, path) : text_of_analysis(tables, path)) +
           line("written by",
                fmt::format("jreg {} ({})", h5::text_attribute(at, "version"), h5::text_attribute(at, "commit")));
  });
}

std::string count_rows(fs::path const& path) {
  return in_child_process(path.string(), [&] {
    Tables const tables = read_tables(path);
    std::vector<std::int64_t> rows;
    if (tables.trajectory) {
      rows = {tables.trajectory->train().rows(), tables.trajectory->validation().rows(),
              tables.trajectory->probe().rows()};
    }
    for (AnalysedModel const& model : tables.models) rows.push_back(model.rows.rows());
    return fmt::format("{}: {} rows, whole in every column", path.string(), fmt::join(rows, " + "));
  });
}

std::string describe_checkpoint(fs::path const& folder) {
  CheckpointReader const reader{folder};
  Manifest const& manifest = reader.manifest();
  State const& state = manifest.state;
  std::int64_t parameters = 0;
  std::int64_t tensors = 0;
  std::int64_t moments = 0;
  for (TensorEntry const& tensor : manifest.tensors) {
    if (tensor.kind == TensorKind::weight) {
      ++tensors;
      parameters += tensor.shape.rows * tensor.shape.columns;
    } else {
      ++moments;
    }
  }
  Origin const& origin = state.origin;
  std::int64_t bytes = 0;
  std::string files;
  for (FileEntry const& file : manifest.files) {
    bytes += file.bytes;
    files += fmt::format("    {:<14} {:>15} bytes  xxh3-128 {}\n", file.name, file.bytes, file.hash);
  }
  return fmt::format("{}: checkpoint\n", folder.string()) + line("run", state.run_id) +
         line("step", std::to_string(state.step)) + line("tokens", std::to_string(state.tokens)) +
         line("mesh", fmt::format("{} data x {} tensor ranks{}", state.data_ranks, state.tensor_ranks,
                                  state.zero1 ? ", optimizer's state split (ZeRO-1)" : "")) +
         (origin.parent_run_id.empty() ? "" : line("forked from", "run " + origin.parent_run_id)) +
         (origin.initial_weights.empty() ? "" : line("began with", "weights of " + origin.initial_weights)) +
         line("layers", std::to_string(state.layers)) +
         line("parameters", fmt::format("{} in {} tensors; {}", parameters, tensors,
                                        state.weights_only ? "weights only, not to resume from"
                                                           : fmt::format("{} tensors of optimizer's state", moments))) +
         line("config hash", manifest.config_hash) +
         line("written by", fmt::format("jreg {} ({})", manifest.version, manifest.commit)) +
         line("files", fmt::format("{} of {} bytes", manifest.files.size(), bytes)) + files;
}

std::string describe_run(fs::path const& folder) {
  auto const checkpoints = list_checkpoints(folder);
  std::string text = fmt::format("{}: run folder, checkpoints: {}\n", folder.string(), checkpoints.size());
  if (fs::path const dynamics = folder / "dynamics.h5"; fs::exists(dynamics)) text += describe_tables(dynamics);
  if (auto const latest = find_latest(folder)) text += describe_checkpoint(*latest);
  return text;
}

/// Runs a check and notes how it ended.
template <class Check> void note(Verdict& verdict, Check&& check) {
  try {
    verdict.good.push_back(check());
  } catch (DataError const& error) {
    verdict.faults.push_back(error.what());
  }
}

void verify_checkpoint(Verdict& verdict, fs::path const& folder) {
  std::optional<Manifest> manifest;
  note(verdict, [&] {
    manifest = read_manifest(folder);
    return fmt::format("{}: manifest is good", folder.string());
  });
  if (!manifest) return;
  for (FileEntry const& file : manifest->files) {
    note(verdict, [&] {
      check_hash(folder, file);
      return fmt::format("{}: {} bytes and their hash are good", (folder / file.name).string(), file.bytes);
    });
  }
}

void verify_tables(Verdict& verdict, fs::path const& path) {
  note(verdict, [&] { return count_rows(path); });
}

/// The manifest's entry of a file inside a checkpoint folder.
FileEntry entry_of(fs::path const& file) {
  Manifest const manifest = read_manifest(file.parent_path());
  auto const at = std::ranges::find(manifest.files, file.filename().string(), &FileEntry::name);
  if (at == manifest.files.end()) throw DataError("{}: is not in the manifest of its folder", file.string());
  return *at;
}

}  // namespace

std::optional<FileKind> kind_of(fs::path const& path) {
  std::error_code error;
  if (!fs::exists(path, error)) throw UserError("{}: there is no such file or folder", path.string());
  if (fs::is_directory(path, error)) {
    if (fs::exists(path / "manifest.json", error) || fs::exists(path / "index.h5", error)) {
      return FileKind::checkpoint_folder;
    }
    if (fs::exists(path / "checkpoints", error) || fs::exists(path / "dynamics.h5", error)) return FileKind::run_folder;
    return std::nullopt;
  }
  fs::path const folder = fs::absolute(path, error).parent_path();
  if (fs::exists(folder / "manifest.json", error)) return FileKind::checkpoint_file;
  if (is_hdf5(path) || path.filename() == "dynamics.h5") return FileKind::table_file;
  return std::nullopt;
}

std::string describe(fs::path const& path, FileKind kind) {
  switch (kind) {
    case FileKind::run_folder:
      return describe_run(path);
    case FileKind::checkpoint_folder:
      return describe_checkpoint(path);
    case FileKind::table_file:
      return describe_tables(path);
    case FileKind::checkpoint_file:
      break;
  }
  fs::path const folder = fs::absolute(path).parent_path();
  return fmt::format("{}: a file of this checkpoint:\n{}", path.string(), describe_checkpoint(folder));
}

Verdict verify(fs::path const& path, FileKind kind) {
  Verdict verdict;
  switch (kind) {
    case FileKind::run_folder:
      for (auto const& [step, folder] : list_checkpoints(path)) verify_checkpoint(verdict, folder);
      if (fs::exists(path / "dynamics.h5")) verify_tables(verdict, path / "dynamics.h5");
      break;
    case FileKind::checkpoint_folder:
      verify_checkpoint(verdict, path);
      break;
    case FileKind::table_file:
      verify_tables(verdict, path);
      break;
    case FileKind::checkpoint_file:
      note(verdict, [&] {
        fs::path const file = fs::absolute(path);
        // The manifest vouches for itself; any other file has its entry there.
        if (file.filename() == "manifest.json") {
          read_manifest(file.parent_path());
        } else {
          check_hash(file.parent_path(), entry_of(file));
        }
        return fmt::format("{}: good", path.string());
      });
  }
  return verdict;
}

}  // namespace jreg::store
