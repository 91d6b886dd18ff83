#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "h5/file.h"
#include "store/manifest.h"
#include "store/trajectory.h"

namespace jreg::store {

/// What the root attributes of dynamics.h5 tell beside version, commit and the paper's reference.
struct DynamicsHeader {
  KeyValues config;                // each key becomes an attribute of its name
  std::vector<std::string> hosts;  // of the ranks, without repetition
  std::string start_time;          // ISO 8601
  Origin origin{};
};

/// The live dynamics.h5 of a run: one writer (the first rank), readable while it grows (SWMR) and after a SIGKILL.
/// Not for network file systems that SWMR does not support (NFS, SMB).
class DynamicsFile {
public:
  static constexpr char const* format = "jreg dynamics";
  static constexpr std::int64_t format_version = 1;

  /// Writes the rows so far beside `file` and renames, so that `file` is always whole, then opens it for appending.
  /// Throws SystemError when the system refuses.
  DynamicsFile(std::filesystem::path file, DynamicsHeader const& header, Trajectory const& so_far);

  /// Appends a row; on return it survives a SIGKILL of this process. Readers see a row's `step` after all its other
  /// columns. Throws InternalError unless sizes fit and the step is greater than the last one of its group.
  void append(TrainRow const& row);
  void append(ValidationRow const& row);
  void append(ProbeRow const& row);

  /// Ends the file: any reader opens it plainly, and nothing more can be appended. Throws SystemError; the destructor
  /// closes without checks.
  void close();

private:
  /// The datasets of one group, open for appending.
  struct LiveGroup {
    std::vector<h5::DataSet> datasets;  // in the order of the columns; the first is `step`
    Table shape;                        // empty: knows what a row looks like
    std::int64_t last_step;
  };

  LiveGroup open_group(char const* name, Table const& so_far) const;
  void append_row(LiveGroup& group, std::int64_t step, std::span<Cell const> cells);

  std::filesystem::path path_;
  h5::File file_;
  std::optional<LiveGroup> train_;
  std::optional<LiveGroup> validation_;
  std::optional<LiveGroup> probe_;
};

}  // namespace jreg::store
