#pragma once

#include <cstdint>
#include <vector>

#include "params/registry.h"

namespace jreg::params {

/// Flat elements [begin, end).
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const noexcept { return end - begin; }
};

/// A run of units that travels as one piece when gradients are reduced, in the order in which backward completes them
/// (last unit first). `counts[r]` elements belong to data rank r under ZeRO-1: cut at whole rows of the parameters, so
/// that each rank's part of a tensor is a rectangle.
struct Bucket {
  std::size_t first_unit = 0;  // units [first_unit, last_unit)
  std::size_t last_unit = 0;
  Range range;
  std::vector<std::int64_t> counts;

  /// Data rank r's elements.
  Range part(int rank) const;
};

/// Joins units from the last to the first until a bucket holds at least `bucket_elements`.
std::vector<Bucket> make_buckets(Registry const& registry, std::int64_t bucket_elements, int data_size);

/// A part of one parameter: rows [row_begin, row_end) of the global tensor, all columns that this rank holds, which
/// lie at `range` in the flat arrays.
struct RowPart {
  std::size_t parameter = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  Range range;
};

/// The parameters' parts inside `range`, whose ends lie between rows.
std::vector<RowPart> rows_inside(Registry const& registry, Range range);

}  // namespace jreg::params
