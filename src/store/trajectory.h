#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "base/dtype.h"

namespace jreg::store {

/// What the second and third index of a column runs over; the first is always the row, labelled by `step`.
enum class Axis : std::uint8_t { layer, state, bin };

/// Number of layers, of hidden states h_0..h_L, or of bins.
std::int64_t axis_size(Axis axis, std::int64_t layers);

/// Bins of the displacement histogram: equal, on [0, 1].
inline constexpr std::int64_t histogram_bins = 64;

/// One dataset of a group of dynamics.h5.
struct Column {
  char const* name;
  DType type;              // i64 or f64
  std::vector<Axis> axes;  // after the row
  char const* units;
  char const* description;
};

/// One cell of a row: the values one column takes there, row-major over its axes.
using Cell = std::variant<std::span<double const>, std::span<std::int64_t const>>;

/// One update: loss, penalty and statistics of the whole global batch.
struct TrainRow {
  std::int64_t step = 0;    // updates done, this one included
  std::int64_t tokens = 0;  // tokens trained on so far
  double loss = 0;          // cross entropy, nats per token
  double jreg = 0;          // R
  double jreg_lambda = 0;   // lambda of this update
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  double tokens_per_second = 0;
  std::vector<double> displacement;  // (L) Psi_1..Psi_L
  std::vector<double> jump_rate;     // (L) zeta_1..zeta_L in percent; zeta_1 does not exist: NaN
  std::vector<double> hidden_norm;   // (L + 1) mean |h_0|..|h_L|

  static std::span<Column const> columns();
  std::vector<Cell> cells() const;
};

/// One validation loss.
struct ValidationRow {
  std::int64_t step = 0;
  double loss = 0;

  static std::span<Column const> columns();
  std::vector<Cell> cells() const;
};

/// One look at the fixed held-out batch.
struct ProbeRow {
  std::int64_t step = 0;
  double loss = 0;
  std::vector<double> displacement;                  // (L)
  std::vector<double> jump_rate;                     // (L) the first is NaN
  std::vector<double> angle;                         // (L) mean arccos(c_l) / pi
  std::vector<double> relative_update;               // (L) mean |h_l - h_{l-1}| / |h_{l-1}|
  std::vector<double> cosine_std;                    // (L) standard deviation of c_l over tokens
  std::vector<std::int64_t> displacement_histogram;  // (L, 64) tokens per bin of Psi

  static std::span<Column const> columns();
  std::vector<Cell> cells() const;
};

/// All rows of one group so far, one contiguous array per column.
class Table {
public:
  /// Steps are at least `lowest_step`.
  Table(std::span<Column const> columns, std::int64_t layers, std::int64_t lowest_step = 0);

  /// Cells in the order of columns(). Throws InternalError unless there is one per column, each of its column's type
  /// and size, and the step is greater than that of the last row.
  void append(std::span<Cell const> cells);
  /// Appends `rows` rows at once from whole columns; the same checks.
  void append_columns(std::span<Cell const> whole_columns, std::int64_t rows);

  std::span<Column const> columns() const { return columns_; }
  std::int64_t layers() const { return layers_; }
  std::int64_t rows() const;
  /// Step of the last row; lowest_step - 1, so in general -1, when there is none.
  std::int64_t last_step() const;
  std::vector<std::int64_t> const& steps() const;
  /// Number of rows whose step is at most `last`.
  std::int64_t rows_until(std::int64_t last) const;
  /// What append_columns() would refuse, as its error.
  void check_rows(std::span<Cell const> whole_columns, std::int64_t rows) const;
  /// Values that a row of this column holds.
  std::int64_t row_size(std::size_t column) const;

  /// One row of a column by name, row-major over its axes; row < rows().
  std::span<double const> reals(std::string_view column, std::int64_t row) const;
  std::span<std::int64_t const> integers(std::string_view column, std::int64_t row) const;
  /// A whole column by its place in columns().
  Cell whole(std::size_t column) const;

private:
  std::size_t find(std::string_view column) const;

  std::span<Column const> columns_;
  std::int64_t layers_;
  std::int64_t lowest_step_;
  std::vector<std::variant<std::vector<double>, std::vector<std::int64_t>>> values_;  // one array per column
};

/// The whole history of a run: what dynamics.h5 shows and every checkpoint holds.
class Trajectory {
public:
  explicit Trajectory(std::int64_t layers);

  void append(TrainRow const& row) { train_.append(row.cells()); }
  void append(ValidationRow const& row) { validation_.append(row.cells()); }
  void append(ProbeRow const& row) { probe_.append(row.cells()); }

  std::int64_t layers() const { return train_.layers(); }
  /// Numbers in all tables together.
  std::int64_t values() const;
  Table const& train() const { return train_; }
  Table const& validation() const { return validation_; }
  Table const& probe() const { return probe_; }
  Table& train() { return train_; }
  Table& validation() { return validation_; }
  Table& probe() { return probe_; }

private:
  Table train_;
  Table validation_;
  Table probe_;
};

}  // namespace jreg::store
