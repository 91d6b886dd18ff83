#include "store/table_io.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "h5/file.h"

namespace jreg::store {
namespace {

// Small enough that the last, partly filled chunk is cheap to write again for each row.
constexpr hsize_t chunk_rows = 64;

void describe(h5::DataSet const& dataset, char const* units, char const* description) {
  h5::set_attribute(dataset.get(), "units", units);
  h5::set_attribute(dataset.get(), "description", description);
}

template <class T>
h5::DataSet write_labels(hid_t group, char const* name, DType type, std::vector<T> const& labels, char const* units,
                         char const* description) {
  h5::DataSet dataset = h5::create_dataset(group, name, type, {labels.size()});
  h5::write(dataset, type, labels.data());
  h5::make_scale(dataset, name);
  describe(dataset, units, description);
  return dataset;
}

/// The dataset that labels an axis.
h5::DataSet write_scale(hid_t group, Axis axis, std::int64_t layers) {
  auto const size = static_cast<std::size_t>(axis_size(axis, layers));
  if (axis == Axis::bin) {
    std::vector<double> centres(size);
    for (std::size_t b = 0; b < size; ++b) centres[b] = (static_cast<double>(b) + 0.5) / static_cast<double>(size);
    return write_labels(group, "bin", DType::f64, centres, "1",
                        "centre of a bin of Psi; the bins are equal, on [0, 1]");
  }
  std::vector<std::int64_t> numbers(size);
  std::iota(numbers.begin(), numbers.end(), axis == Axis::layer ? 1 : 0);
  return axis == Axis::layer ? write_labels(group, "layer", DType::i64, numbers, "1", "number of the block, 1..L")
                             : write_labels(group, "state", DType::i64, numbers, "1",
                                            "number of the hidden state: 0 is the embedding, l the output of block l");
}

void const* data_of(Cell const& cell) {
  return std::visit([](auto const& values) { return static_cast<void const*>(values.data()); }, cell);
}

h5::DataSet write_column(hid_t group, Table const& table, std::size_t c, std::int64_t rows) {
  Column const& column = table.columns()[c];
  h5::Extents row_shape;
  for (Axis const axis : column.axes) row_shape.push_back(static_cast<hsize_t>(axis_size(axis, table.layers())));
  h5::DataSet dataset = h5::create_growing(group, column.name, column.type, row_shape, chunk_rows);
  h5::append_rows(dataset, column.type, static_cast<hsize_t>(rows), data_of(table.whole(c)));
  describe(dataset, column.units, column.description);
  return dataset;
}

/// One whole column, checked against what the table expects.
template <class T>
std::vector<T> read_column(h5::DataSet const& dataset, Table const& table, std::size_t c, std::size_t rows) {
  Column const& column = table.columns()[c];
  h5::expect_type(dataset, column.type, 1 + column.axes.size());
  h5::Extents shape = h5::shape_of(dataset);
  if (shape[0] < rows) {
    // Somebody looked at it when it had fewer rows, and the library remembers that.
    h5::refresh(dataset);
    shape = h5::shape_of(dataset);
  }
  bool fits = shape[0] >= rows;
  for (std::size_t a = 0; a < column.axes.size(); ++a) {
    fits = fits && shape[a + 1] == static_cast<hsize_t>(axis_size(column.axes[a], table.layers()));
  }
  if (!fits)
    throw DataError("{}: its shape does not fit {} rows of {} layers", h5::name_of(dataset.get()), rows,
                    table.layers());
  std::vector<T> values(rows * static_cast<std::size_t>(table.row_size(c)));
  if (rows == 0) return values;
  h5::Box box{h5::Extents(shape.size(), 0), shape};
  box.count[0] = rows;
  h5::read_box(dataset, box, column.type, values.data(), box.count, {box.begin, box.count});
  return values;
}

}  // namespace

void write_table(hid_t file, std::string const& name, Table const& table, std::int64_t last) {
  h5::Group const group = h5::create_group(file, name);
  std::int64_t const rows = table.rows_until(last);
  h5::DataSet const step = write_column(group.get(), table, 0, rows);
  h5::make_scale(step, "step");
  std::map<Axis, h5::DataSet> scales;
  for (std::size_t c = 1; c < table.columns().size(); ++c) {
    h5::DataSet const dataset = write_column(group.get(), table, c, rows);
    h5::attach_scale(dataset, step, 0);
    unsigned index = 0;
    for (Axis const axis : table.columns()[c].axes) {
      if (!scales.contains(axis)) scales.emplace(axis, write_scale(group.get(), axis, table.layers()));
      h5::attach_scale(dataset, scales.at(axis), ++index);
    }
  }
}

std::vector<h5::DataSet> open_table(hid_t file, std::string const& name, std::span<Column const> columns) {
  h5::Group const group = h5::open_group(file, name);
  std::vector<h5::DataSet> datasets;
  for (Column const& column : columns) datasets.push_back(h5::open_dataset(group.get(), column.name));
  return datasets;
}

void read_table(hid_t file, std::string const& name, Table& table) {
  std::vector<h5::DataSet> const datasets = open_table(file, name, table.columns());
  h5::expect_type(datasets.front(), DType::i64, 1);
  std::size_t const rows = h5::shape_of(datasets.front())[0];
  // Owners of the columns; the cells point into them.
  std::vector<std::variant<std::vector<double>, std::vector<std::int64_t>>> owners(table.columns().size());
  std::vector<Cell> cells;
  for (std::size_t c = 0; c < table.columns().size(); ++c) {
    if (table.columns()[c].type == DType::f64) {
      cells.emplace_back(
          std::span<double const>{owners[c].emplace<0>(read_column<double>(datasets[c], table, c, rows))});
    } else {
      cells.emplace_back(
          std::span<std::int64_t const>{owners[c].emplace<1>(read_column<std::int64_t>(datasets[c], table, c, rows))});
    }
  }
  auto const steps = std::get<std::span<std::int64_t const>>(cells.front());
  if (std::ranges::adjacent_find(steps, std::greater_equal{}) != steps.end() || (rows > 0 && steps.front() < 0)) {
    throw DataError("{}: the steps do not rise", h5::name_of(datasets.front().get()));
  }
  table.append_columns(cells, static_cast<std::int64_t>(rows));
}

void write_trajectory(hid_t file, Trajectory const& trajectory, std::int64_t last) {
  write_table(file, "train", trajectory.train(), last);
  write_table(file, "validation", trajectory.validation(), last);
  write_table(file, "probe", trajectory.probe(), last);
}

Trajectory read_trajectory(hid_t file, std::int64_t layers) {
  Trajectory trajectory{layers};
  read_table(file, "train", trajectory.train());
  read_table(file, "validation", trajectory.validation());
  read_table(file, "probe", trajectory.probe());
  return trajectory;
}

}  // namespace jreg::store
