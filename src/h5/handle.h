#pragma once

#include <hdf5.h>

#include <source_location>
#include <string>
#include <string_view>

#include "base/handle.h"

namespace jreg::h5 {

template <herr_t (*Close)(hid_t)> struct IdTraits {
  using Raw = hid_t;
  static Raw null() { return H5I_INVALID_HID; }
  static void close(Raw raw) noexcept { Close(raw); }
};

using File = UniqueHandle<IdTraits<&H5Fclose>>;
using Group = UniqueHandle<IdTraits<&H5Gclose>>;
using DataSet = UniqueHandle<IdTraits<&H5Dclose>>;
using Space = UniqueHandle<IdTraits<&H5Sclose>>;
using Type = UniqueHandle<IdTraits<&H5Tclose>>;
using Attribute = UniqueHandle<IdTraits<&H5Aclose>>;
using PropertyList = UniqueHandle<IdTraits<&H5Pclose>>;

/// Prepares the library once: errors are thrown and not printed, and nothing runs at exit (after a failed close that
/// would crash). Called by whatever makes the first id; harmless to call again.
void initialize();

/// Version of the HDF5 library that runs, "1.10.8".
std::string library_version();

/// The library's own account of its last error, from the innermost cause outwards.
std::string error_text();

/// Passes an id on; throws SystemError "<action>: <HDF5's text>" when it is negative. `action` names what was done to
/// what, such as "write /runs/a/dynamics.h5".
hid_t check(hid_t id, std::string_view action, std::source_location where = std::source_location::current());
/// The same for a status. Statuses are ints, ids are 64 bits wide: the compiler picks.
int check(herr_t status, std::string_view action, std::source_location where = std::source_location::current());

/// Path or name of what an id stands for, for messages: "<file>:<object>".
std::string name_of(hid_t id);

}  // namespace jreg::h5
