#include "h5/dataset.h"

#include <hdf5_hl.h>

#include <limits>

#include "base/error.h"
#include "h5/file.h"

namespace jreg::h5 {
namespace {

bool is_float(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f64;
}

Space make_space(Extents const& shape, hsize_t const* largest = nullptr) {
  return Space{check(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), largest), "make data space")};
}

PropertyList creation() {
  PropertyList list{check(H5Pcreate(H5P_DATASET_CREATE), "make dataset properties")};
  leave_out_times(list);
  return list;
}

void fill_with_nan(PropertyList const& list, DType type) {
  if (!is_float(type)) return;
  double const missing = std::numeric_limits<double>::quiet_NaN();
  check(H5Pset_fill_value(list.get(), H5T_NATIVE_DOUBLE, &missing), "set fill value");
}

DataSet create(hid_t at, std::string const& name, DType type, Space const& space, PropertyList const& list) {
  Type const element = make_type(type);
  return DataSet{check(H5Dcreate2(at, name.c_str(), element.get(), space.get(), H5P_DEFAULT, list.get(), H5P_DEFAULT),
                       fmt::format("create dataset {} in {}", name, name_of(at)))};
}

std::string action(char const* what, DataSet const& dataset) {
  return fmt::format("{} {}", what, name_of(dataset.get()));
}

}  // namespace

Type make_type(DType type) {
  initialize();
  auto const copy = [](hid_t of) { return Type{check(H5Tcopy(of), "copy data type")}; };
  switch (type) {
    case DType::f32:
      return copy(H5T_IEEE_F32LE);
    case DType::f64:
      return copy(H5T_IEEE_F64LE);
    case DType::i32:
      return copy(H5T_STD_I32LE);
    case DType::i64:
      return copy(H5T_STD_I64LE);
    case DType::bf16:
      break;
  }
  Type bf16 = copy(H5T_IEEE_F32LE);
  // Sign at bit 15, 8 bits of exponent from bit 7, 7 bits of mantissa from bit 0.
  check(H5Tset_fields(bf16.get(), 15, 7, 8, 0, 7), "set the fields of bf16");
  check(H5Tset_size(bf16.get(), 2), "set the size of bf16");
  check(H5Tset_ebias(bf16.get(), 127), "set the exponent bias of bf16");
  return bf16;
}

DataSet create_dataset(hid_t at, std::string const& name, DType type, Extents const& shape) {
  PropertyList const list = creation();
  check(H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER), "set fill time");
  return create(at, name, type, make_space(shape), list);
}

DataSet create_reserved(hid_t at, std::string const& name, DType type, Extents const& shape) {
  PropertyList const list = creation();
  check(H5Pset_fill_time(list.get(), H5D_FILL_TIME_NEVER), "set fill time");
  check(H5Pset_alloc_time(list.get(), H5D_ALLOC_TIME_EARLY), "set allocation time");
  return create(at, name, type, make_space(shape), list);
}

std::int64_t place_of(DataSet const& dataset) {
  haddr_t const place = H5Dget_offset(dataset.get());
  if (place == HADDR_UNDEF) check(herr_t{-1}, action("find the place of", dataset));
  return static_cast<std::int64_t>(place);
}

DataSet create_growing(hid_t at, std::string const& name, DType type, Extents const& row_shape, hsize_t chunk_rows) {
  Extents shape{0};
  Extents largest{H5S_UNLIMITED};
  Extents chunk{chunk_rows};
  for (hsize_t const size : row_shape) {
    shape.push_back(size);
    largest.push_back(size);
    chunk.push_back(size);
  }
  PropertyList const list = creation();
  check(H5Pset_chunk(list.get(), static_cast<int>(chunk.size()), chunk.data()), "set chunk shape");
  fill_with_nan(list, type);
  return create(at, name, type, make_space(shape, largest.data()), list);
}

DataSet create_virtual(hid_t at, std::string const& name, DType type, Extents const& shape,
                       std::vector<VirtualPart> const& parts) {
  PropertyList const list = creation();
  fill_with_nan(list, type);
  Space const whole = make_space(shape);
  for (VirtualPart const& part : parts) {
    check(H5Sselect_hyperslab(whole.get(), H5S_SELECT_SET, part.box.begin.data(), nullptr, part.box.count.data(),
                              nullptr),
          "select part of virtual dataset");
    Space const source = make_space(part.box.count);
    check(H5Pset_virtual(list.get(), whole.get(), part.file.c_str(), part.dataset.c_str(), source.get()),
          "map virtual dataset");
  }
  check(H5Sselect_all(whole.get()), "select virtual dataset");
  return create(at, name, type, whole, list);
}

DataSet open_dataset(hid_t at, std::string const& name) {
  expect_hard_links(at, name);
  hid_t const id = H5Dopen2(at, name.c_str(), H5P_DEFAULT);
  if (id < 0) throw DataError("{}: {} is no dataset: {}", name_of(at), name, error_text());
  DataSet dataset{id};
  PropertyList const list{check(H5Dget_create_plist(id), action("look up", dataset))};
  H5D_layout_t const layout = H5Pget_layout(list.get());
  if (layout == H5D_VIRTUAL || (layout == H5D_CONTIGUOUS && H5Pget_external_count(list.get()) != 0)) {
    throw DataError("{}: {} keeps its data in other files, which is refused", name_of(at), name);
  }
  return dataset;
}

void refresh(DataSet const& dataset) {
  check(H5Drefresh(dataset.get()), action("refresh", dataset));
}

Extents shape_of(DataSet const& dataset) {
  Space const space{check(H5Dget_space(dataset.get()), action("look up", dataset))};
  int const axes = check(H5Sget_simple_extent_ndims(space.get()), action("look up", dataset));
  Extents shape(static_cast<std::size_t>(axes));
  check(H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr), action("look up", dataset));
  return shape;
}

void expect_type(DataSet const& dataset, DType type, std::size_t axes) {
  Type const found{check(H5Dget_type(dataset.get()), action("look up", dataset))};
  Type const wanted = make_type(type);
  if (H5Tequal(found.get(), wanted.get()) <= 0) {
    throw DataError("{}: elements are not {}", name_of(dataset.get()), jreg::name_of(type));
  }
  if (std::size_t const have = shape_of(dataset).size(); have != axes) {
    throw DataError("{}: has {} axes, not {}", name_of(dataset.get()), have, axes);
  }
}

void write(DataSet const& dataset, DType type, void const* data) {
  Type const element = make_type(type);
  check(H5Dwrite(dataset.get(), element.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), action("write", dataset));
}

void read(DataSet const& dataset, DType type, void* data) {
  Type const element = make_type(type);
  check(H5Dread(dataset.get(), element.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), action("read", dataset));
}

void read_box(DataSet const& dataset, Box const& source, DType type, void* data, Extents const& array,
              Box const& target) {
  Type const element = make_type(type);
  Space const file{check(H5Dget_space(dataset.get()), action("look up", dataset))};
  check(H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, source.begin.data(), nullptr, source.count.data(), nullptr),
        action("select part of", dataset));
  Space const memory = make_space(array);
  check(H5Sselect_hyperslab(memory.get(), H5S_SELECT_SET, target.begin.data(), nullptr, target.count.data(), nullptr),
        "select part of memory");
  check(H5Dread(dataset.get(), element.get(), memory.get(), file.get(), H5P_DEFAULT, data), action("read", dataset));
}

void append_rows(DataSet const& dataset, DType type, hsize_t rows, void const* data) {
  if (rows == 0) return;
  Extents shape = shape_of(dataset);
  Extents begin(shape.size(), 0);
  begin[0] = shape[0];
  shape[0] += rows;
  check(H5Dset_extent(dataset.get(), shape.data()), action("extend", dataset));
  Extents count = shape;
  count[0] = rows;
  Space const file{check(H5Dget_space(dataset.get()), action("look up", dataset))};
  check(H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, begin.data(), nullptr, count.data(), nullptr),
        action("select rows of", dataset));
  Space const memory = make_space(count);
  Type const element = make_type(type);
  check(H5Dwrite(dataset.get(), element.get(), memory.get(), file.get(), H5P_DEFAULT, data), action("write", dataset));
}

void flush(DataSet const& dataset) {
  check(H5Dflush(dataset.get()), action("flush", dataset));
}

void make_scale(DataSet const& dataset, std::string const& name) {
  check(H5DSset_scale(dataset.get(), name.c_str()), action("make a dimension scale of", dataset));
}

void attach_scale(DataSet const& dataset, DataSet const& scale, unsigned axis) {
  check(H5DSattach_scale(dataset.get(), scale.get(), axis), action("attach a dimension scale to", dataset));
}

}  // namespace jreg::h5
