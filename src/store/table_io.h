#pragma once

#include <hdf5.h>

#include <string>
#include <vector>

#include "h5/handle.h"
#include "store/trajectory.h"

// A table of the trajectory as a group of an HDF5 file: one dataset per column, labelled by dimension scales.
namespace jreg::store {

/// Makes the group `name`: every column with its rows up to step `last`, `units` and `description`, and the scales
/// step, layer (1..L), state (0..L) and bin (centres) that its columns use, attached to every axis.
void write_table(hid_t file, std::string const& name, Table const& table, std::int64_t last);

/// Reads such a group into `table`, which must be empty. Throws DataError naming what does not fit. Columns longer than
/// `step` are cut to its length: a writer that died may leave them so.
void read_table(hid_t file, std::string const& name, Table& table);

/// The three groups train, validation and probe, up to step `last`.
void write_trajectory(hid_t file, Trajectory const& trajectory, std::int64_t last);
Trajectory read_trajectory(hid_t file, std::int64_t layers);

/// The group's datasets in the order of the columns.
std::vector<h5::DataSet> open_table(hid_t file, std::string const& name, std::span<Column const> columns);

}  // namespace jreg::store
