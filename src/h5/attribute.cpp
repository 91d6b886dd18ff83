#include "h5/attribute.h"

#include <memory>

#include "base/error.h"

namespace jreg::h5 {
namespace {

Type text_type() {
  Type type{check(H5Tcopy(H5T_C_S1), "copy data type")};
  check(H5Tset_size(type.get(), H5T_VARIABLE), "make a text type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "make a text type");
  return type;
}

std::string action(char const* what, hid_t at, std::string const& name) {
  return fmt::format("{} attribute {} of {}", what, name, name_of(at));
}

void write(hid_t at, std::string const& name, hid_t file_type, hid_t memory_type, Space const& space,
           void const* data) {
  Attribute const attribute{check(H5Acreate2(at, name.c_str(), file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                                  action("create", at, name))};
  check(H5Awrite(attribute.get(), memory_type, data), action("write", at, name));
}

Space scalar() {
  return Space{check(H5Screate(H5S_SCALAR), "make data space")};
}

/// The scalar attribute, or a DataError.
Attribute open_scalar(hid_t at, std::string const& name, H5T_class_t wanted, char const* kind) {
  if (!has_attribute(at, name)) throw DataError("{}: there is no attribute {}", name_of(at), name);
  Attribute attribute{check(H5Aopen(at, name.c_str(), H5P_DEFAULT), action("open", at, name))};
  Type const type{check(H5Aget_type(attribute.get()), action("look up", at, name))};
  Space const space{check(H5Aget_space(attribute.get()), action("look up", at, name))};
  bool const fixed_text = wanted == H5T_STRING && H5Tis_variable_str(type.get()) <= 0;
  if (H5Tget_class(type.get()) != wanted || fixed_text || H5Sget_simple_extent_type(space.get()) != H5S_SCALAR) {
    throw DataError("{}: attribute {} is not {}", name_of(at), name, kind);
  }
  return attribute;
}

struct LibraryMemory {
  void operator()(char* text) const noexcept { H5free_memory(text); }
};

}  // namespace

void set_attribute(hid_t at, std::string const& name, std::string_view text) {
  Type const type = text_type();
  std::string const copy{text};
  char const* const pointer = copy.c_str();
  write(at, name, type.get(), type.get(), scalar(), &pointer);
}

void set_attribute(hid_t at, std::string const& name, std::int64_t value) {
  write(at, name, H5T_STD_I64LE, H5T_NATIVE_INT64, scalar(), &value);
}

void set_attribute(hid_t at, std::string const& name, double value) {
  write(at, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, scalar(), &value);
}

void set_attribute(hid_t at, std::string const& name, std::vector<std::int64_t> const& values) {
  hsize_t const size = values.size();
  Space const space{check(H5Screate_simple(1, &size, nullptr), "make data space")};
  write(at, name, H5T_STD_I64LE, H5T_NATIVE_INT64, space, values.data());
}

bool has_attribute(hid_t at, std::string const& name) {
  return check(H5Aexists(at, name.c_str()), action("look up", at, name)) > 0;
}

std::string text_attribute(hid_t at, std::string const& name) {
  Attribute const attribute = open_scalar(at, name, H5T_STRING, "a text");
  Type const type = text_type();
  char* raw = nullptr;
  check(H5Aread(attribute.get(), type.get(), static_cast<void*>(&raw)), action("read", at, name));
  std::unique_ptr<char, LibraryMemory> const text{raw};
  return text ? std::string{text.get()} : std::string{};
}

std::int64_t integer_attribute(hid_t at, std::string const& name) {
  Attribute const attribute = open_scalar(at, name, H5T_INTEGER, "an integer");
  std::int64_t value = 0;
  check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), action("read", at, name));
  return value;
}

}  // namespace jreg::h5
