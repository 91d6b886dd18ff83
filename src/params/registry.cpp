#include "params/registry.h"

#include "base/error.h"

namespace jreg::params {
namespace {

// Tensors begin on a cache line of fp32 elements.
constexpr std::int64_t alignment = 16;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

void Registry::begin_unit() {
  flat_size_ = round_up(flat_size_, alignment);
  units_.push_back({parameters_.size(), parameters_.size(), flat_size_, flat_size_});
}

std::size_t Registry::add(Declaration const& declaration) {
  expect(!units_.empty(), "a unit is begun before parameters are added");
  Parameter parameter{.declared = declaration};
  parameter.row_end = declaration.rows;
  parameter.column_end = declaration.columns;
  switch (declaration.split) {
    case Split::none:
      parameter.replicas = at_.tensor_size;
      parameter.replica = at_.tensor;
      parameter.partial_gradient = sequence_parallel_ && at_.tensor_size > 1;
      break;
    case Split::rows: {
      std::int64_t const rows =
          declaration.padded_rows ? round_up(declaration.rows, at_.tensor_size) : declaration.rows;
      expect(rows % at_.tensor_size == 0, "tensor ranks divide the rows");
      parameter.row_begin = rows / at_.tensor_size * at_.tensor;
      parameter.row_end = rows / at_.tensor_size * (at_.tensor + 1);
      break;
    }
    case Split::columns:
      expect(declaration.columns % at_.tensor_size == 0, "tensor ranks divide the columns");
      parameter.column_begin = declaration.columns / at_.tensor_size * at_.tensor;
      parameter.column_end = declaration.columns / at_.tensor_size * (at_.tensor + 1);
      break;
    case Split::kv_rows: {
      parameter.replicas = mesh::kv_replicas(kv_heads_, at_.tensor_size);
      parameter.replica = at_.tensor % parameter.replicas;
      parameter.partial_gradient = parameter.replicas > 1;
      std::int64_t const pieces = at_.tensor_size / parameter.replicas;
      expect(declaration.rows % pieces == 0, "tensor ranks divide the key/value heads");
      std::int64_t const piece = at_.tensor / parameter.replicas;
      parameter.row_begin = declaration.rows / pieces * piece;
      parameter.row_end = declaration.rows / pieces * (piece + 1);
      break;
    }
  }
  if (!declaration.joins_previous) flat_size_ = round_up(flat_size_, alignment);
  parameter.offset = flat_size_;
  flat_size_ = parameter.end();
  parameters_.push_back(parameter);
  units_.back().last = parameters_.size();
  units_.back().end = flat_size_ = parameter.end();
  return parameters_.size() - 1;
}

std::int64_t Registry::global_size() const noexcept {
  std::int64_t size = 0;
  for (Parameter const& parameter : parameters_) size += parameter.declared.rows * parameter.declared.columns;
  return size;
}

}  // namespace jreg::params
