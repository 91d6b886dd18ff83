#pragma once

#include <filesystem>
#include <string>

#include "h5/handle.h"

namespace jreg::h5 {

/// A new file in the format of HDF5 1.10, replacing one that is there. Throws SystemError.
File create_file(std::filesystem::path const& path);
/// An existing file, for reading. Throws SystemError, and DataError where its end is missing; a file that is damaged
/// otherwise can crash the library: check its hash before.
File open_file(std::filesystem::path const& path);
/// An existing file of create_file, to append to its datasets while others read; nothing may be created in it then.
File append_to_file(std::filesystem::path const& path);
/// A file that another process is appending to, or was when it died.
File open_growing_file(std::filesystem::path const& path);

/// Closes and reports what only shows then, such as a full disk. Every object of the file must be closed before.
void close(File file, std::filesystem::path const& path);

/// Objects made with these properties carry no time, so that equal content gives equal files.
void leave_out_times(PropertyList const& creation);

/// A new group; `name` may have several levels.
Group create_group(hid_t at, std::string const& name);
/// An existing group, reached by no soft or external link. Throws DataError when it is not there.
Group open_group(hid_t at, std::string const& name);

/// Throws DataError unless each step of the path `name` is there and is no soft or external link.
void expect_hard_links(hid_t at, std::string const& name);

}  // namespace jreg::h5
