#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "h5/dataset.h"
#include "store/checkpoint.h"

// The HDF5 files inside a checkpoint folder.
namespace jreg::store {

/// "rank_00003.h5"
std::string part_name(int rank);

/// Size in bytes of a slice's elements.
std::int64_t bytes_of(SavedSlice const& slice);

/// Writes a rank's slices, closes the file and waits until it is on the disk.
void write_part(std::filesystem::path const& file, int rank, std::int64_t step, std::span<SavedSlice const> slices);

/// Writes index.h5: state and config as attributes, every tensor whole as a virtual dataset of the parts, and the
/// trajectory; closes it and waits until it is on the disk.
void write_index(std::filesystem::path const& file, Manifest const& manifest, Trajectory const& trajectory);

/// Extents of a tensor, and of a part of it, as HDF5 has them: one axis for a vector, two for a matrix.
h5::Extents extents_of(Shape const& shape);
h5::Extents begin_of(Shape const& shape, Rectangle const& part);
h5::Extents count_of(Shape const& shape, Rectangle const& part);

}  // namespace jreg::store
