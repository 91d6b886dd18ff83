#include "store/dynamics.h"

#include <fmt/ranges.h>

#include <limits>

#include "base/error.h"
#include "base/version.h"
#include "h5/attribute.h"
#include "h5/dataset.h"
#include "store/files.h"
#include "store/table_io.h"

namespace jreg::store {
namespace {

void write_whole(std::filesystem::path const& path, DynamicsHeader const& header, Trajectory const& trajectory) {
  h5::File file = h5::create_file(path);
  write_trajectory(file.get(), trajectory, std::numeric_limits<std::int64_t>::max());
  for (auto const& [key, value] : header.config) h5::set_attribute(file.get(), key, value);
  h5::set_attribute(file.get(), "format", DynamicsFile::format);
  h5::set_attribute(file.get(), "format_version", DynamicsFile::format_version);
  h5::set_attribute(file.get(), "version", version());
  h5::set_attribute(file.get(), "commit", commit());
  h5::set_attribute(file.get(), "hosts", fmt::format("{}", fmt::join(header.hosts, ",")));
  h5::set_attribute(file.get(), "start_time", header.start_time);
  for (auto const& [name, value] : header.origin.known()) h5::set_attribute(file.get(), name, value);
  h5::set_attribute(file.get(), "references", "arXiv:2601.18302");
  h5::close(std::move(file), path);
}

DType type_of(Cell const& cell) {
  return std::holds_alternative<std::span<double const>>(cell) ? DType::f64 : DType::i64;
}

}  // namespace

DynamicsFile::DynamicsFile(std::filesystem::path file, DynamicsHeader const& header, Trajectory const& so_far)
    : path_{std::move(file)} {
  write_beside(path_, [&](std::filesystem::path const& beside) { write_whole(beside, header, so_far); });
  file_ = h5::append_to_file(path_);
  train_ = open_group("train", so_far.train());
  validation_ = open_group("validation", so_far.validation());
  probe_ = open_group("probe", so_far.probe());
}

DynamicsFile::LiveGroup DynamicsFile::open_group(char const* name, Table const& so_far) const {
  // An empty table of the same columns checks what is appended.
  return {open_table(file_.get(), name, so_far.columns()), Table{so_far.columns(), so_far.layers()},
          so_far.last_step()};
}

void DynamicsFile::append(TrainRow const& row) {
  append_row(train_.value(), row.step, row.cells());
}
void DynamicsFile::append(ValidationRow const& row) {
  append_row(validation_.value(), row.step, row.cells());
}
void DynamicsFile::append(ProbeRow const& row) {
  append_row(probe_.value(), row.step, row.cells());
}

void DynamicsFile::append_row(LiveGroup& group, std::int64_t step, std::span<Cell const> cells) {
  group.shape.check_rows(cells, 1);
  if (step <= group.last_step) {
    expect(false, fmt::format("step {} after step {} in {}", step, group.last_step, path_.string()).c_str());
  }
  // `step` comes last: a reader that goes by its length finds all other columns of these rows written.
  for (std::size_t c = cells.size(); c-- > 0;) {
    std::visit([&](auto const& values) { h5::append_rows(group.datasets[c], type_of(cells[c]), 1, values.data()); },
               cells[c]);
    h5::flush(group.datasets[c]);
  }
  group.last_step = step;
}

void DynamicsFile::close() {
  train_.reset();
  validation_.reset();
  probe_.reset();
  h5::close(std::move(file_), path_);
}

}  // namespace jreg::store
