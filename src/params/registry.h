#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/mesh.h"

namespace jreg::params {

/// Along which axis of the global tensor the tensor ranks split it.
enum class Split { none, rows, columns, kv_rows };

/// How a parameter is declared: its Hugging Face name and global shape. A vector has columns = 1.
struct Declaration {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t columns = 1;
  Split split = Split::none;
  bool decay = false;           // weight decay applies
  double init_std = 0;          // standard deviation of the initial normal numbers; 0: all ones
  bool padded_rows = false;     // rows may be padded at the end so that they divide (the vocabulary)
  bool joins_previous = false;  // follows the one before without a gap, so that both are one matrix
};

/// A parameter as this rank holds it: the rectangle [row_begin, row_end) x [column_begin, column_end) of the global
/// tensor (rows beyond `rows` are padding), row-major, at `offset` in the flat arrays.
struct Parameter {
  Declaration declared;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t column_begin = 0;
  std::int64_t column_end = 0;
  int replicas = 1;  // tensor ranks that hold this same rectangle
  int replica = 0;   // which of them this rank is; 0 counts it in norms and writes it to files
  /// The gradient computed here is one of `replicas` (or tensor ranks') summands, not yet the whole.
  bool partial_gradient = false;
  std::int64_t offset = 0;

  bool vector() const noexcept { return declared.columns == 1; }
  std::int64_t local_rows() const noexcept { return row_end - row_begin; }
  std::int64_t local_columns() const noexcept { return column_end - column_begin; }
  std::int64_t size() const noexcept { return local_rows() * local_columns(); }
  std::int64_t end() const noexcept { return offset + size(); }
};

/// A run of parameters whose gradients become complete together in the backward pass (a block, the head).
struct Unit {
  std::size_t first = 0;   // index of its first parameter
  std::size_t last = 0;    // one beyond its last
  std::int64_t begin = 0;  // flat elements [begin, end)
  std::int64_t end = 0;
};

/// All parameters of a model on this rank, in the order of their flat arrays.
class Registry {
public:
  explicit Registry(mesh::Coordinates at, std::int64_t kv_heads, bool sequence_parallel)
      : at_{at}, kv_heads_{kv_heads}, sequence_parallel_{sequence_parallel} {}

  /// Begins a new unit; parameters added next belong to it. Units are declared in the order of the forward pass.
  void begin_unit();
  /// Adds a parameter to the current unit and returns its index. A split that does not divide is a broken invariant
  /// (config::validate refuses it before).
  std::size_t add(Declaration const& declaration);

  Parameter const& operator[](std::size_t index) const { return parameters_.at(index); }
  std::vector<Parameter> const& all() const noexcept { return parameters_; }
  std::vector<Unit> const& units() const noexcept { return units_; }
  /// Elements of a flat array, gaps for alignment included.
  std::int64_t flat_size() const noexcept { return flat_size_; }
  /// Parameters of the whole model, each once.
  std::int64_t global_size() const noexcept;

private:
  mesh::Coordinates at_;
  std::int64_t kv_heads_;
  bool sequence_parallel_;
  std::vector<Parameter> parameters_;
  std::vector<Unit> units_;
  std::int64_t flat_size_ = 0;
};

}  // namespace jreg::params
