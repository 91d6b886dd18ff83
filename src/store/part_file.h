#pragma once

#include <filesystem>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "h5/dataset.h"
#include "store/checkpoint.h"

// The HDF5 files inside a checkpoint folder.
namespace jreg::store {

/// "rank_00003.h5"
std::string part_name(int rank);

/// Size in bytes of a slice's elements.
std::int64_t bytes_of(SavedSlice const& slice);

/// Where the elements of a slice go in a rank's file.
struct Placement {
  std::int64_t offset = 0;  // in bytes
  std::span<std::byte const> bytes;
};

/// Makes a rank's file with room for its slices, whose elements are still to be written where the result says.
std::vector<Placement> create_part(std::filesystem::path const& file, int rank, std::int64_t step,
                                   std::span<SavedSlice const> slices);

/// Writes the elements, without HDF5, and waits until the file is on the disk. Gives up with an exception when `stop`
/// asks for that.
void fill_part(std::filesystem::path const& file, std::span<Placement const> placements, std::stop_token const& stop);

/// Writes and closes index.h5: state and config as attributes, every tensor whole as a virtual dataset of the parts,
/// and the trajectory up to the state's step. It need not be on the disk on return.
void write_index(std::filesystem::path const& file, Manifest const& manifest, Trajectory const& trajectory);

/// Extents of a tensor, and of a part of it, as HDF5 has them: one axis for a vector, two for a matrix.
h5::Extents extents_of(Shape const& shape);
h5::Extents begin_of(Shape const& shape, Rectangle const& part);
h5::Extents count_of(Shape const& shape, Rectangle const& part);

}  // namespace jreg::store
