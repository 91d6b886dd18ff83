#pragma once

#include <functional>
#include <vector>

#include "params/partition.h"
#include "params/registry.h"
#include "store/tensor_source.h"

namespace jreg::train {

/// Rectangle of the whole tensor that rows [row_begin, row_end) of a parameter's slice are, without the rows that only
/// pad the vocabulary.
store::Rectangle rectangle_of(params::Parameter const& parameter, std::int64_t row_begin, std::int64_t row_end);
store::Shape shape_of(params::Parameter const& parameter);

/// Reads those rows, as this rank holds them, as fp32; rows that only pad the vocabulary become 0. Throws DataError
/// naming a tensor that is missing or of another shape.
void read_rows(store::TensorSource& source, store::TensorKind kind, params::Parameter const& parameter,
               std::int64_t row_begin, std::int64_t row_end, std::vector<float>& values);

/// Reads this rank's slice of every weight; `write` takes each, as fp32 elements of its flat range.
void load_weights(store::TensorSource& source, params::Registry const& registry,
                  std::function<void(params::Range, float const*)> const& write);

}  // namespace jreg::train
