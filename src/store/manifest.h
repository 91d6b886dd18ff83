#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "store/trajectory.h"

namespace jreg::store {

/// Option names and values as text, in the order of their declaration.
using KeyValues = std::vector<std::pair<std::string, std::string>>;

enum class TensorKind : std::uint8_t { weight, moment1, moment2 };

/// Folder of a kind inside the HDF5 files: "weights", "optimizer/moment1", "optimizer/moment2".
char const* group_of(TensorKind kind);

/// Global shape of a tensor: a matrix, or a vector of `rows` elements (columns = 1).
struct Shape {
  std::int64_t rows = 0;
  std::int64_t columns = 1;
  bool vector = false;

  static Shape of_vector(std::int64_t size) { return {size, 1, true}; }
  static Shape of_matrix(std::int64_t rows, std::int64_t columns) { return {rows, columns, false}; }
  bool operator==(Shape const&) const = default;
};

/// Half-open ranges of rows and columns of a tensor; a vector's columns are [0, 1).
struct Rectangle {
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t column_begin = 0;
  std::int64_t column_end = 1;

  std::int64_t rows() const { return row_end - row_begin; }
  std::int64_t columns() const { return column_end - column_begin; }
  bool empty() const { return rows() <= 0 || columns() <= 0; }
  static Rectangle whole(Shape const& shape) { return {0, shape.rows, 0, shape.columns}; }
  bool operator==(Rectangle const&) const = default;
};

/// What a run began with, if not with random weights.
struct Origin {
  std::string parent_run_id{};    // of the run that it was forked from; empty: of none
  std::string initial_weights{};  // absolute path of the model that --init named; empty: none

  /// Those that are not empty, by their names as attributes.
  KeyValues known() const;
};

/// Everything of a run beside tensors and trajectory; the same on every rank.
struct State {
  std::int64_t step = 0;                 // updates done
  std::int64_t tokens = 0;               // tokens trained on
  std::int64_t sampler_position = 0;     // sequences drawn, the global sample index of the next one
  std::int64_t adamw_steps = 0;          // updates that AdamW's bias correction has seen
  std::int64_t skipped_updates = 0;      // left out because of NaN or Inf
  std::vector<std::int64_t> jump_gates;  // (L) 0 or 1: which terms of the jump penalty the next update uses
  std::int64_t layers = 0;               // L
  std::int64_t data_ranks = 1;           // mesh that wrote the checkpoint
  std::int64_t tensor_ranks = 1;
  bool zero1 = false;
  std::string run_id;  // the same in all checkpoints of a run
  Origin origin{};
  bool weights_only = false;  // without moments: for looking at, not for going on from
  KeyValues config;
};

/// One slice in one rank's file.
struct SliceEntry {
  std::string file;
  Rectangle part;
};

struct TensorEntry {
  std::string name;
  TensorKind kind = TensorKind::weight;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<SliceEntry> slices;  // cover the tensor exactly once
};

struct FileEntry {
  std::string name;  // inside the folder
  std::int64_t bytes = 0;
  std::string hash;  // XXH3-128, 32 hexadecimal digits
};

/// What manifest.json tells.
struct Manifest {
  static constexpr std::int64_t format_version = 1;

  State state;
  std::string version;  // of the program that wrote it
  std::string commit;
  std::string config_hash;  // XXH3-128 of the config's keys and values
  std::vector<FileEntry> files;
  std::vector<TensorEntry> tensors;
};

/// The manifest as JSON text that ends in the hash of its own content.
std::string to_json(Manifest const& manifest);

/// Parses strictly; throws DataError "<file>: <what>" for anything that to_json would not have written: other types,
/// numbers out of range, names that leave the folder, tensors not covered exactly once, a content hash that differs.
Manifest parse_manifest(std::string_view text, std::string const& file);

/// Name of a slice in its kind's group of a rank's file: "<name>@<row>,<column>" of where it begins.
std::string slice_name(std::string const& tensor, Rectangle const& part);
/// The same as a path inside the file.
std::string dataset_of(TensorEntry const& tensor, Rectangle const& part);

/// Throws DataError "<file>: ..." unless the name can stand in a path of HDF5 and the slices lie inside the tensor and
/// cover it exactly once.
void check_tensor(TensorEntry const& tensor, std::string const& file);

}  // namespace jreg::store
