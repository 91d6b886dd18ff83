#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "h5/handle.h"

namespace jreg::h5 {

/// Sizes, offsets and counts along the axes of a dataset.
using Extents = std::vector<hsize_t>;

/// The type of elements in files and in memory: little endian; bf16 is a float of 2 bytes that readers convert exactly.
Type make_type(DType type);

/// A box inside a dataset.
struct Box {
  Extents begin;
  Extents count;
};

/// A new dataset of fixed shape in one piece. What is never written is undefined.
DataSet create_dataset(hid_t at, std::string const& name, DType type, Extents const& shape);

/// The same with its place in the file allocated, for writing the elements by other means than HDF5 once the file is
/// closed: rows in order, little endian, from byte place_of() of the file on. The shape has no axis of size 0.
DataSet create_reserved(hid_t at, std::string const& name, DType type, Extents const& shape);
std::int64_t place_of(DataSet const& dataset);

/// A new dataset that grows along its first axis, in chunks of `chunk_rows` rows; floats that are not there read as
/// NaN, integers as 0.
DataSet create_growing(hid_t at, std::string const& name, DType type, Extents const& row_shape, hsize_t chunk_rows);

/// Where a box of a virtual dataset comes from.
struct VirtualPart {
  std::string file;     // relative to the file that holds the virtual dataset
  std::string dataset;  // whole
  Box box;              // its place in the virtual dataset
};

/// A dataset made of those of other files; what they do not give reads as NaN.
DataSet create_virtual(hid_t at, std::string const& name, DType type, Extents const& shape,
                       std::vector<VirtualPart> const& parts);

/// An existing dataset whose data lie in this same file. Throws DataError where it is missing, reached by a soft or
/// external link, virtual, or kept in other files.
DataSet open_dataset(hid_t at, std::string const& name);

Extents shape_of(DataSet const& dataset);
/// Reads again from the file what the library remembers of a data set that another process appends to.
void refresh(DataSet const& dataset);
/// Throws DataError unless the dataset has these element type and number of axes.
void expect_type(DataSet const& dataset, DType type, std::size_t axes);

/// The whole dataset; memory is row-major with elements of `type`, converted where the file's differ.
void write(DataSet const& dataset, DType type, void const* data);
void read(DataSet const& dataset, DType type, void* data);

/// Reads `source` of the dataset into the box `target` of an array of shape `array`; source and target have equal
/// counts.
void read_box(DataSet const& dataset, Box const& source, DType type, void* data, Extents const& array,
              Box const& target);

/// Appends `rows` rows along the first axis.
void append_rows(DataSet const& dataset, DType type, hsize_t rows, void const* data);
/// Hands everything of the dataset to the system, in an order in which concurrent readers can follow.
void flush(DataSet const& dataset);

/// Makes a 1-D dataset a dimension scale called `name`.
void make_scale(DataSet const& dataset, std::string const& name);
/// Labels an axis of `dataset` by `scale`.
void attach_scale(DataSet const& dataset, DataSet const& scale, unsigned axis);

}  // namespace jreg::h5
