#include "store/trajectory.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::store {
namespace {

Cell one(double const& value) {
  return std::span{&value, 1};
}
Cell one(std::int64_t const& value) {
  return std::span{&value, 1};
}
Cell all(std::vector<double> const& values) {
  return std::span{values};
}
Cell all(std::vector<std::int64_t> const& values) {
  return std::span{values};
}

std::size_t size_of_cell(Cell const& cell) {
  return std::visit([](auto const& values) { return values.size(); }, cell);
}

DType type_of_cell(Cell const& cell) {
  return std::holds_alternative<std::span<double const>>(cell) ? DType::f64 : DType::i64;
}

Column const step_column{"step", DType::i64, {}, "updates", "updates of the weights done so far"};

char const* const displacement_text =
    "Psi_l: mean over tokens of (1 - cosine between the hidden states before and after block l) / 2";
char const* const jump_rate_text =
    "zeta_l: 100 * sum over k = l..L of max(0, Psi_k - Psi_(k-1)), for l >= 2; the first layer has none";

}  // namespace

std::span<Column const> TrainRow::columns() {
  static std::vector<Column> const columns{
      step_column,
      {"tokens", DType::i64, {}, "tokens", "tokens trained on so far"},
      {"loss", DType::f64, {}, "nats/token", "cross entropy of the global batch"},
      {"jreg", DType::f64, {}, "1", "R: the penalty on hidden state jumps, before its factor lambda"},
      {"jreg_lambda", DType::f64, {}, "1", "lambda: factor of the penalty in the loss at this update"},
      {"learning_rate", DType::f64, {}, "1", "learning rate of this update"},
      {"grad_norm", DType::f64, {}, "1", "2-norm of the whole gradient before clipping"},
      {"tokens_per_second", DType::f64, {}, "tokens/s", "training speed at this update"},
      {"displacement", DType::f64, {Axis::layer}, "1", displacement_text},
      {"jump_rate", DType::f64, {Axis::layer}, "percent", jump_rate_text},
      {"hidden_norm", DType::f64, {Axis::state}, "1", "mean over tokens of the 2-norm of hidden state h_l"}};
  return columns;
}

std::vector<Cell> TrainRow::cells() const {
  return {one(step),         one(tokens),        one(loss),       one(jreg),
          one(jreg_lambda),  one(learning_rate), one(grad_norm),  one(tokens_per_second),
          all(displacement), all(jump_rate),     all(hidden_norm)};
}

std::span<Column const> ValidationRow::columns() {
  static std::vector<Column> const columns{
      step_column, {"loss", DType::f64, {}, "nats/token", "cross entropy on the validation tokens"}};
  return columns;
}

std::vector<Cell> ValidationRow::cells() const {
  return {one(step), one(loss)};
}

std::span<Column const> ProbeRow::columns() {
  static std::vector<Column> const columns{
      step_column,
      {"loss", DType::f64, {}, "nats/token", "cross entropy of the fixed probe batch"},
      {"displacement", DType::f64, {Axis::layer}, "1", displacement_text},
      {"jump_rate", DType::f64, {Axis::layer}, "percent", jump_rate_text},
      {"angle", DType::f64, {Axis::layer}, "half turns", "mean over tokens of arccos(cosine_l) / pi"},
      {"relative_update", DType::f64, {Axis::layer}, "1", "mean over tokens of |h_l - h_(l-1)| / |h_(l-1)|"},
      {"cosine_std", DType::f64, {Axis::layer}, "1", "standard deviation over tokens of cosine_l"},
      {"displacement_histogram", DType::i64, {Axis::layer, Axis::bin}, "tokens", "tokens per bin of their own Psi_l"}};
  return columns;
}

std::vector<Cell> ProbeRow::cells() const {
  return {one(step),         one(loss),
          all(displacement), all(jump_rate),
          all(angle),        all(relative_update),
          all(cosine_std),   all(displacement_histogram)};
}

std::int64_t axis_size(Axis axis, std::int64_t layers) {
  switch (axis) {
    case Axis::layer:
      return layers;
    case Axis::state:
      return layers + 1;
    case Axis::bin:
      return histogram_bins;
  }
  return 0;
}

Table::Table(std::span<Column const> columns, std::int64_t layers, std::int64_t lowest_step)
    : columns_{columns}, layers_{layers}, lowest_step_{lowest_step} {
  expect(layers >= 1, "a trajectory has layers");
  for (Column const& column : columns) {
    if (column.type == DType::f64) {
      values_.emplace_back(std::vector<double>{});
    } else {
      values_.emplace_back(std::vector<std::int64_t>{});
    }
  }
}

std::int64_t Table::row_size(std::size_t column) const {
  std::int64_t size = 1;
  for (Axis const axis : columns_[column].axes) size *= axis_size(axis, layers_);
  return size;
}

std::vector<std::int64_t> const& Table::steps() const {
  return std::get<std::vector<std::int64_t>>(values_.front());
}
std::int64_t Table::rows() const {
  return static_cast<std::int64_t>(steps().size());
}
std::int64_t Table::last_step() const {
  return rows() == 0 ? lowest_step_ - 1 : steps().back();
}

std::int64_t Table::rows_until(std::int64_t last) const {
  return std::ranges::upper_bound(steps(), last) - steps().begin();
}

void Table::append(std::span<Cell const> cells) {
  append_columns(cells, 1);
}

void Table::append_columns(std::span<Cell const> whole_columns, std::int64_t rows) {
  check_rows(whole_columns, rows);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::visit(
        [&](auto& values) {
          using Value = typename std::decay_t<decltype(values)>::value_type;
          auto const added = std::get<std::span<Value const>>(whole_columns[c]);
          values.insert(values.end(), added.begin(), added.end());
        },
        values_[c]);
  }
}

void Table::check_rows(std::span<Cell const> whole_columns, std::int64_t rows) const {
  expect_equal(whole_columns.size(), columns_.size(), "cells of a trajectory row");
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    expect(type_of_cell(whole_columns[c]) == columns_[c].type, columns_[c].name);
    expect_equal(size_of_cell(whole_columns[c]), static_cast<std::size_t>(rows * row_size(c)), columns_[c].name);
  }
  std::int64_t last = last_step();
  for (std::int64_t const step : std::get<std::span<std::int64_t const>>(whole_columns.front())) {
    if (step <= last) expect(false, fmt::format("step {} after step {} in the trajectory", step, last).c_str());
    last = step;
  }
}

std::size_t Table::find(std::string_view column) const {
  auto const at = std::ranges::find_if(columns_, [&](Column const& c) { return column == c.name; });
  expect(at != columns_.end(), "the column exists");
  return static_cast<std::size_t>(at - columns_.begin());
}

std::span<double const> Table::reals(std::string_view column, std::int64_t row) const {
  std::size_t const c = find(column);
  auto const size = static_cast<std::size_t>(row_size(c));
  return std::span{std::get<std::vector<double>>(values_[c])}.subspan(static_cast<std::size_t>(row) * size, size);
}

std::span<std::int64_t const> Table::integers(std::string_view column, std::int64_t row) const {
  std::size_t const c = find(column);
  auto const size = static_cast<std::size_t>(row_size(c));
  return std::span{std::get<std::vector<std::int64_t>>(values_[c])}.subspan(static_cast<std::size_t>(row) * size, size);
}

Cell Table::whole(std::size_t column) const {
  return std::visit([](auto const& values) { return all(values); }, values_[column]);
}

Trajectory::Trajectory(std::int64_t layers)
    : train_{TrainRow::columns(), layers},
      validation_{ValidationRow::columns(), layers},
      probe_{ProbeRow::columns(), layers} {}

std::int64_t Trajectory::values() const {
  std::int64_t count = 0;
  for (Table const* table : {&train_, &validation_, &probe_}) {
    for (std::size_t c = 0; c < table->columns().size(); ++c) count += table->rows() * table->row_size(c);
  }
  return count;
}

}  // namespace jreg::store
