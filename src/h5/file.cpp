#include "h5/file.h"

#include <unistd.h>

#include <cstdint>

#include "base/error.h"

namespace jreg::h5 {
namespace {

/// Files of HDF5 1.10's own format, which concurrent reading needs; closing a file whose objects are open is an error.
PropertyList file_access() {
  initialize();
  PropertyList list{check(H5Pcreate(H5P_FILE_ACCESS), "make file access properties")};
  check(H5Pset_libver_bounds(list.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "set library version bounds");
  check(H5Pset_fclose_degree(list.get(), H5F_CLOSE_SEMI), "set file close degree");
  return list;
}

File open(std::filesystem::path const& path, unsigned flags, PropertyList const& access = file_access()) {
  // The system's own words are clearer than the library's.
  if (::access(path.c_str(), R_OK) != 0) throw_errno("open", path.string());
  File file{check(H5Fopen(path.c_str(), flags, access.get()), "open " + path.string())};
  // HDF5 1.14 opens a file that was cut, and reads zeros where its end is missing.
  haddr_t end = 0;
  check(H5Fget_eoa(file.get(), &end), "look up the size of " + path.string());
  std::uintmax_t const there = std::filesystem::file_size(path);
  if (there < end) throw DataError("{}: was cut: {} of {} bytes are there", path.string(), there, end);
  return file;
}

}  // namespace

File create_file(std::filesystem::path const& path) {
  PropertyList const access = file_access();
  PropertyList const creation{check(H5Pcreate(H5P_FILE_CREATE), "make file properties")};
  leave_out_times(creation);
  return File{check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "create " + path.string())};
}

File open_file(std::filesystem::path const& path) {
  return open(path, H5F_ACC_RDONLY);
}
File append_to_file(std::filesystem::path const& path) {
  return open(path, H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE);
}
File open_growing_file(std::filesystem::path const& path) {
  // Each attempt to read what is half written waits twice as long as the one before, from 1 ns: half a second in all.
  // The library's own 100 attempts would never end on a damaged file.
  constexpr unsigned attempts = 29;
  PropertyList const access = file_access();
  check(H5Pset_metadata_read_attempts(access.get(), attempts), "set how often to read again");
  return open(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, access);
}

void close(File file, std::filesystem::path const& path) {
  check(H5Fclose(file.release()), "close " + path.string());
}

void leave_out_times(PropertyList const& creation) {
  check(H5Pset_obj_track_times(creation.get(), false), "leave out times");
}

Group create_group(hid_t at, std::string const& name) {
  PropertyList const creation{check(H5Pcreate(H5P_GROUP_CREATE), "make group properties")};
  leave_out_times(creation);
  auto const create = [&](std::string const& path) {
    return Group{check(H5Gcreate2(at, path.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                       fmt::format("create group {} in {}", path, name_of(at)))};
  };
  // Level by level: groups that HDF5 itself puts between would carry times.
  for (std::size_t end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1)) {
    std::string const level = name.substr(0, end);
    if (check(H5Lexists(at, level.c_str(), H5P_DEFAULT), "look up " + level) == 0) create(level);
  }
  return create(name);
}

Group open_group(hid_t at, std::string const& name) {
  expect_hard_links(at, name);
  hid_t const id = H5Gopen2(at, name.c_str(), H5P_DEFAULT);
  if (id < 0) throw DataError("{}: {} is no group: {}", name_of(at), name, error_text());
  return Group{id};
}

void expect_hard_links(hid_t at, std::string const& name) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    std::string const prefix = name.substr(0, end);
    if (H5Lexists(at, prefix.c_str(), H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      throw DataError("{}: there is no {}", name_of(at), prefix);
    }
    H5L_info_t info{};
    check(H5Lget_info(at, prefix.c_str(), &info, H5P_DEFAULT), "look up " + prefix);
    if (info.type != H5L_TYPE_HARD) {
      throw DataError("{}: {} is a link to elsewhere, which is refused", name_of(at), prefix);
    }
  }
}

}  // namespace jreg::h5
