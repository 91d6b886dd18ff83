#include "store/part_file.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/version.h"
#include "h5/attribute.h"
#include "h5/file.h"
#include "store/files.h"
#include "store/table_io.h"

namespace jreg::store {
namespace {

/// Groups of the kinds, made where the first tensor of a kind comes.
class KindGroups {
public:
  explicit KindGroups(h5::File const& file) : file_{file} {}
  hid_t at(TensorKind kind) {
    auto found = groups_.find(kind);
    if (found == groups_.end()) found = groups_.emplace(kind, h5::create_group(file_.get(), group_of(kind))).first;
    return found->second.get();
  }

private:
  h5::File const& file_;
  std::map<TensorKind, h5::Group> groups_;
};

std::vector<Placement> reserve_slices(h5::File const& file, std::span<SavedSlice const> slices) {
  KindGroups groups{file};
  std::vector<Placement> placements;
  for (SavedSlice const& slice : slices) {
    if (slice.part.empty()) continue;
    h5::DataSet const dataset = h5::create_reserved(groups.at(slice.kind), slice_name(slice.name, slice.part),
                                                    slice.dtype, count_of(slice.shape, slice.part));
    placements.push_back({h5::place_of(dataset), std::span{static_cast<std::byte const*>(slice.data),
                                                           static_cast<std::size_t>(bytes_of(slice))}});
  }
  return placements;
}

void write_tensors(h5::File const& file, std::vector<TensorEntry> const& tensors) {
  KindGroups groups{file};
  for (TensorEntry const& tensor : tensors) {
    std::vector<h5::VirtualPart> parts;
    for (SliceEntry const& slice : tensor.slices) {
      parts.push_back({slice.file,
                       "/" + dataset_of(tensor, slice.part),
                       {begin_of(tensor.shape, slice.part), count_of(tensor.shape, slice.part)}});
    }
    h5::create_virtual(groups.at(tensor.kind), tensor.name, tensor.dtype, extents_of(tensor.shape), parts);
  }
}

void write_state(h5::File const& file, Manifest const& manifest) {
  State const& state = manifest.state;
  hid_t const at = file.get();
  for (auto const& [key, value] : state.config) h5::set_attribute(at, key, value);
  h5::set_attribute(at, "format", "jreg checkpoint index");
  h5::set_attribute(at, "format_version", Manifest::format_version);
  h5::set_attribute(at, "version", manifest.version);
  h5::set_attribute(at, "commit", manifest.commit);
  h5::set_attribute(at, "config_hash", manifest.config_hash);
  h5::set_attribute(at, "run_id", state.run_id);
  for (auto const& [name, value] : state.origin.known()) h5::set_attribute(at, name, value);
  h5::set_attribute(at, "weights_only", std::int64_t{state.weights_only});
  h5::set_attribute(at, "step", state.step);
  h5::set_attribute(at, "tokens", state.tokens);
  h5::set_attribute(at, "sampler_position", state.sampler_position);
  h5::set_attribute(at, "adamw_steps", state.adamw_steps);
  h5::set_attribute(at, "skipped_updates", state.skipped_updates);
  h5::set_attribute(at, "layers", state.layers);
  h5::set_attribute(at, "jump_gates", state.jump_gates);
  h5::set_attribute(at, "data_ranks", state.data_ranks);
  h5::set_attribute(at, "tensor_ranks", state.tensor_ranks);
  h5::set_attribute(at, "zero1", std::int64_t{state.zero1});
}

}  // namespace

std::string part_name(int rank) {
  return fmt::format("rank_{:05}.h5", rank);
}

std::int64_t bytes_of(SavedSlice const& slice) {
  if (slice.part.empty()) return 0;
  return slice.part.rows() * slice.part.columns() * static_cast<std::int64_t>(size_of(slice.dtype));
}

std::vector<Placement> create_part(std::filesystem::path const& path, int rank, std::int64_t step,
                                   std::span<SavedSlice const> slices) {
  h5::File file = h5::create_file(path);
  h5::set_attribute(file.get(), "format", "jreg checkpoint part");
  h5::set_attribute(file.get(), "format_version", Manifest::format_version);
  h5::set_attribute(file.get(), "version", version());
  h5::set_attribute(file.get(), "step", step);
  h5::set_attribute(file.get(), "rank", std::int64_t{rank});
  std::vector<Placement> placements = reserve_slices(file, slices);
  h5::close(std::move(file), path);
  return placements;
}

void fill_part(std::filesystem::path const& path, std::span<Placement const> placements, std::stop_token const& stop) {
  constexpr std::size_t piece = std::size_t{8} << 20;
  static_assert(std::endian::native == std::endian::little, "files hold elements as memory does");
  {
    Descriptor const file = open_descriptor(path, O_WRONLY);
    for (Placement const& placement : placements) {
      for (std::size_t begin = 0; begin < placement.bytes.size(); begin += piece) {
        if (stop.stop_requested()) throw SystemError{fmt::format("write {}: given up", path.string())};
        auto const bytes = placement.bytes.subspan(begin, std::min(piece, placement.bytes.size() - begin));
        write_at(file, placement.offset + static_cast<std::int64_t>(begin), bytes, path);
      }
    }
  }
  sync(path);
}

void write_index(std::filesystem::path const& path, Manifest const& manifest, Trajectory const& trajectory) {
  h5::File file = h5::create_file(path);
  write_state(file, manifest);
  write_tensors(file, manifest.tensors);
  write_trajectory(file.get(), trajectory, manifest.state.step);
  h5::close(std::move(file), path);
}

h5::Extents extents_of(Shape const& shape) {
  return count_of(shape, Rectangle::whole(shape));
}

h5::Extents begin_of(Shape const& shape, Rectangle const& part) {
  h5::Extents begin{static_cast<hsize_t>(part.row_begin)};
  if (!shape.vector) begin.push_back(static_cast<hsize_t>(part.column_begin));
  return begin;
}

h5::Extents count_of(Shape const& shape, Rectangle const& part) {
  h5::Extents count{static_cast<hsize_t>(part.rows())};
  if (!shape.vector) count.push_back(static_cast<hsize_t>(part.columns()));
  return count;
}

}  // namespace jreg::store
