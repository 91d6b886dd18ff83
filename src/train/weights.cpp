#include "train/weights.h"

#include <algorithm>

#include "base/error.h"

namespace jreg::train {

store::Rectangle rectangle_of(params::Parameter const& parameter, std::int64_t row_begin, std::int64_t row_end) {
  return {std::min(row_begin, parameter.declared.rows), std::min(row_end, parameter.declared.rows),
          parameter.column_begin, parameter.column_end};
}

store::Shape shape_of(params::Parameter const& parameter) {
  return {parameter.declared.rows, parameter.declared.columns, parameter.vector()};
}

void read_rows(store::TensorSource& source, store::TensorKind kind, params::Parameter const& parameter,
               std::int64_t row_begin, std::int64_t row_end, std::vector<float>& values) {
  values.assign(static_cast<std::size_t>((row_end - row_begin) * parameter.local_columns()), 0.0F);
  std::string const& name = parameter.declared.name;
  store::TensorEntry const* const entry = source.find(kind, name);
  if (entry == nullptr) throw DataError("{}: holds no tensor {}", source.folder().string(), name);
  if (!(entry->shape == shape_of(parameter))) {
    throw DataError("{}: tensor {} is {} x {}, the model's is {} x {}", source.folder().string(), name,
                    entry->shape.rows, entry->shape.columns, parameter.declared.rows, parameter.declared.columns);
  }
  store::Rectangle const part = rectangle_of(parameter, row_begin, row_end);
  if (!part.empty()) source.read_slice(kind, name, part, DType::f32, values.data());
}

void load_weights(store::TensorSource& source, params::Registry const& registry,
                  std::function<void(params::Range, float const*)> const& write) {
  std::vector<float> values;
  for (params::Parameter const& parameter : registry.all()) {
    read_rows(source, store::TensorKind::weight, parameter, parameter.row_begin, parameter.row_end, values);
    write({parameter.offset, parameter.end()}, values.data());
  }
}

}  // namespace jreg::train
